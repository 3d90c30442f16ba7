import { fileURLToPath } from 'node:url';

/** The built plugin: what a node has in /opt/cni/bin. */
export const PLUGIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
/** What runtimes execute. */
export const LAUNCHER = fileURLToPath(new URL('../../bin/edgemesh-cni', import.meta.url));
/** Where Debian has the standard plugins. */
export const STANDARD_PLUGINS = '/usr/lib/cni';

/** A machine of the lab, as far as a runtime needs it. */
export interface RuntimeHost {
  readonly netns: string;
  exec(
    command: string,
    args?: readonly string[],
    options?: { readonly input?: string; readonly env?: Readonly<Record<string, string>>; readonly timeoutMs?: number },
  ): Promise<{ readonly stdout: string; readonly stderr: string; readonly code: number }>;
}

export interface ConfList {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

export interface AddResult {
  readonly cniVersion: string;
  readonly interfaces: readonly {
    readonly name: string;
    readonly mac?: string;
    readonly sandbox?: string;
    readonly mtu?: number;
  }[];
  readonly ips: readonly {
    readonly address: string;
    readonly gateway?: string;
    readonly version?: string;
    readonly interface?: number;
  }[];
  readonly routes?: readonly { readonly dst: string; readonly gw?: string }[];
  readonly dns?: unknown;
}

/** What a plugin printed when it failed. */
export class PluginFailure extends Error {
  override readonly name = 'PluginFailure';
  readonly code: number;
  constructor(printed: string, stderr: string) {
    const { code, msg, details } = parse(printed) as { code?: number; msg?: string; details?: string };
    super(`${msg ?? printed} ${details ?? ''} ${stderr}`);
    this.code = code ?? -1;
  }
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
};

/** A pod: a network namespace with what the plugins did to it. */
export interface Pod {
  readonly name: string;
  readonly netns: string;
  readonly path: string;
  readonly result: AddResult;
  /** First address of a family. */
  ip(family?: 4 | 6): string;
}

export interface Runtime {
  readonly pods: ReadonlyMap<string, Pod>;
  add(name: string): Promise<Pod>;
  check(name: string): Promise<void>;
  /** DEL and the end of the namespace; `forget: true` leaves the plugins out, as a runtime that lost its state. */
  remove(name: string, options?: { readonly forget?: boolean }): Promise<void>;
  gc(): Promise<void>;
  status(): Promise<void>;
  version(): Promise<unknown>;
  /** Runs one verb of one plugin with exactly these variables and this input. */
  raw(env: Readonly<Record<string, string>>, input: string): Promise<{ stdout: string; stderr: string; code: number }>;
  /** Runs a command inside a pod. */
  exec: (pod: string, command: string, ...args: string[]) => Promise<{ stdout: string; stderr: string; code: number }>;
}

export interface RuntimeOptions {
  readonly host: RuntimeHost;
  readonly list: ConfList;
  /** Start of the names of the namespaces; they must be unique on the machine. */
  readonly prefix: string;
  /** Runs `ip` outside the lab: namespaces belong to the machine. */
  readonly ip: (...args: string[]) => Promise<unknown>;
}

/** The CNI side of a container runtime: conflist, prevResult, cached results, valid attachments. */
export function createRuntime({ host, list, prefix, ip }: RuntimeOptions): Runtime {
  const pods = new Map<string, Pod>();
  const results = new Map<string, unknown>();
  const idOf = (name: string) => `container-${name}`;
  const raw = (env: Readonly<Record<string, string>>, input: string) =>
    host.exec(process.execPath, [PLUGIN], { env: { CNI_PATH: STANDARD_PLUGINS, ...env }, input, timeoutMs: 60_000 });

  const call = async (verb: string, plugin: Readonly<Record<string, unknown>>, more: object, env = {}) => {
    const { type: _, ...rest } = plugin;
    const config = { ...rest, type: plugin.type, name: list.name, cniVersion: list.cniVersion, ...more };
    const input = JSON.stringify(config);
    const variables = { CNI_COMMAND: verb, ...env };
    const { stdout, stderr, code } =
      plugin.type === 'edgemesh-cni'
        ? await raw(variables, input)
        : await host.exec(`${STANDARD_PLUGINS}/${plugin.type}`, [], {
            env: { CNI_PATH: STANDARD_PLUGINS, ...variables },
            input,
          });
    if (code !== 0) throw new PluginFailure(stdout, stderr);
    return stdout.trim() === '' ? undefined : JSON.parse(stdout);
  };
  const variables = (name: string) => ({
    CNI_CONTAINERID: idOf(name),
    CNI_IFNAME: 'eth0',
    CNI_NETNS: `/var/run/netns/${prefix}${name}`,
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAME=${name}`,
  });
  const previous = (name: string) => (results.has(name) ? { prevResult: results.get(name) } : {});
  const end = async (verb: string, name: string) => {
    for (const plugin of [...list.plugins].reverse()) await call(verb, plugin, previous(name), variables(name));
  };

  return {
    pods,
    raw,
    async add(name) {
      const netns = `${prefix}${name}`;
      await ip('netns', 'add', netns);
      let result: unknown;
      for (const plugin of list.plugins) {
        result = await call('ADD', plugin, result === undefined ? {} : { prevResult: result }, variables(name));
      }
      results.set(name, result);
      const printed = result as AddResult;
      const pod: Pod = {
        name,
        netns,
        path: `/var/run/netns/${netns}`,
        result: printed,
        ip: (family = 4) =>
          printed.ips
            .map(({ address }) => address.split('/')[0] as string)
            .find((a) => a.includes(':') === (family === 6)) ?? '',
      };
      pods.set(name, pod);
      return pod;
    },
    async check(name) {
      for (const plugin of list.plugins) await call('CHECK', plugin, previous(name), variables(name));
    },
    async remove(name, options = {}) {
      if (!options.forget) await end('DEL', name);
      results.delete(name);
      pods.delete(name);
      await ip('netns', 'del', `${prefix}${name}`);
    },
    async gc() {
      const valid = [...results.keys()].map((name) => ({ containerID: idOf(name), ifname: 'eth0' }));
      for (const plugin of list.plugins) await call('GC', plugin, { 'cni.dev/valid-attachments': valid });
    },
    async status() {
      for (const plugin of list.plugins) await call('STATUS', plugin, {});
    },
    version: () => call('VERSION', list.plugins[0] as Readonly<Record<string, unknown>>, {}),
    exec: (pod, command, ...args) =>
      host.exec('ip', ['netns', 'exec', `${prefix}${pod}`, command, ...args], { timeoutMs: 30_000 }),
  };
}
