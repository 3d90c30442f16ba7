import { parseArgs } from 'node:util';

/** Where EdgeMesh's own manifests mount the file. */
export const DEFAULT_CONFIG_FILE = '/etc/edgemesh/config/edgemesh-agent.yaml';

export type Command =
  | { readonly kind: 'run'; readonly configFile: string; readonly explicit: boolean }
  | { readonly kind: 'print'; readonly what: 'version' | 'defaultconfig' | 'minconfig' | 'help' }
  | { readonly kind: 'cleanup'; readonly configFile: string; readonly explicit: boolean }
  | { readonly kind: 'wrong'; readonly message: string };

/** Version of the agent; the packages are released together. */
export const VERSION = '0.1.0';

export const USAGE = `usage: edgemesh-agent [--config-file FILE]      run the agent (default ${DEFAULT_CONFIG_FILE})
       edgemesh-agent cleanup                   remove every rule, link and route that an agent left behind
       edgemesh-agent --defaultconfig           print a configuration file with every key
       edgemesh-agent --minconfig               print the smallest useful configuration file
       edgemesh-agent --version

environment: NODE_NAME (required), NAMESPACE, EDGEMESH_DATA_DIR`;

/** Reads the command line; flags are EdgeMesh's. */
export function readArguments(args: readonly string[]): Command {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        'config-file': { type: 'string' },
        defaultconfig: { type: 'boolean' },
        minconfig: { type: 'boolean' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    for (const what of ['version', 'defaultconfig', 'minconfig', 'help'] as const) {
      if (values[what]) return { kind: 'print', what };
    }
    const file = {
      configFile: values['config-file'] ?? DEFAULT_CONFIG_FILE,
      explicit: values['config-file'] !== undefined,
    };
    if (positionals.length === 0) return { kind: 'run', ...file };
    if (positionals.length === 1 && positionals[0] === 'cleanup') return { kind: 'cleanup', ...file };
    return { kind: 'wrong', message: `unknown command: ${positionals.join(' ')}` };
  } catch (error) {
    return { kind: 'wrong', message: error instanceof Error ? error.message : String(error) };
  }
}
