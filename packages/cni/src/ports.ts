/** What a finished command left. */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

export interface CommandOptions {
  readonly input?: string;
  /** Replaces the whole environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Port: runs one program to its end. Rejects with CniError when it cannot be started or does not end. */
export type Execute = (command: string, args: readonly string[], options?: CommandOptions) => Promise<CommandResult>;

/** Port: the few file operations that the plugin needs. Synchronous: a plugin has nothing else to do meanwhile. */
export interface Files {
  /** Undefined when there is no such file. */
  read(path: string): string | undefined;
  /** Names in a folder; empty when there is none. */
  list(folder: string): string[];
  /** Writes a file that must not exist yet, whole or not at all. False: it exists. Creates the folder. */
  create(path: string, text: string): boolean;
  /** Writes or replaces a file, whole or not at all. Creates the folder. */
  replace(path: string, text: string): void;
  /** Missing is fine. */
  remove(path: string): void;
  /** True when the path is there. */
  exists(path: string): boolean;
  /** True when the path is a network namespace: a file of nsfs, or below /proc. */
  isNamespace(path: string): boolean;
  /** Writes a kernel setting, `net/ipv4/ip_forward`; false where the kernel has none of that name. */
  set(setting: string, value: string): boolean;
  /** The path of an executable in one of the folders. */
  findProgram(folders: readonly string[], name: string): string | undefined;
}

/** Port: what the host's network looks like, without starting a program. */
export interface HostNetwork {
  /** Addresses (without prefix) and MAC of a link that is up and has a carrier; undefined for any other. */
  link(name: string): { readonly addresses: readonly string[]; readonly mac: string } | undefined;
}

/** Everything outside that the plugin touches. */
export interface PluginPorts {
  readonly execute: Execute;
  readonly files: Files;
  readonly network: HostNetwork;
}
