import type { CommandResult, Files, PluginPorts } from '../ports.ts';

/** One program that the plugin ran. */
export interface FakeCall {
  readonly command: string;
  readonly args: readonly string[];
  readonly input: string;
  readonly env: Readonly<Record<string, string>> | undefined;
}

export interface FakePorts extends PluginPorts {
  readonly calls: FakeCall[];
  readonly disk: Map<string, string>;
  readonly settings: Map<string, string>;
  /** Lines of all `ip -batch` runs so far. */
  readonly lines: () => string[];
}

export interface FakeOptions {
  readonly answer?: (call: FakeCall) => Partial<CommandResult> | undefined;
  readonly namespaces?: readonly string[];
  readonly programs?: readonly string[];
  readonly bridge?: { readonly addresses: readonly string[]; readonly mac: string };
}

/** A machine in memory: files, and programs that do nothing but say what a test wants. */
export function createFakePorts(options: FakeOptions = {}): FakePorts {
  const disk = new Map<string, string>();
  const settings = new Map<string, string>();
  const calls: FakeCall[] = [];
  const files: Files = {
    read: (path) => disk.get(path),
    list: (folder) =>
      [...disk.keys()].filter((path) => path.startsWith(`${folder}/`)).map((path) => path.slice(folder.length + 1)),
    create(path, text) {
      if (disk.has(path)) return false;
      disk.set(path, text);
      return true;
    },
    replace: (path, text) => void disk.set(path, text),
    remove: (path) => void disk.delete(path),
    exists: (path) => disk.has(path),
    isNamespace: (path) => (options.namespaces ?? ['/run/netns/pod']).includes(path),
    set: (setting, value) => settings.set(setting, value) !== undefined,
    findProgram: (folders, name) => (options.programs?.includes(name) ? `${folders[0]}/${name}` : undefined),
  };
  return {
    calls,
    disk,
    settings,
    files,
    lines: () =>
      calls.filter(({ args }) => args.join(' ').includes('-batch')).flatMap(({ input }) => input.trim().split('\n')),
    network: { link: () => options.bridge },
    async execute(command, args, { input = '', env } = {}) {
      const call = { command, args, input, env };
      calls.push(call);
      return { stdout: '', stderr: '', code: 0, ...options.answer?.(call) };
    },
  };
}
