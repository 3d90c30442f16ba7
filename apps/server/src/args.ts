import { parseArgs } from 'node:util';

export const USAGE = `usage: edgemesh-server --listen 0.0.0.0:20006 --advertise 203.0.113.7 --psk-file FILE
       edgemesh-server --config-file FILE       (kind EdgeMeshServer)
       edgemesh-server --defaultconfig | --version

  --listen HOST:PORT      where agents connect (default 0.0.0.0:20006)
  --advertise ADDRESS     where agents reach this server from outside; may be repeated
  --psk-file FILE         the mesh secret (default /etc/edgemesh/psk)
  --data-dir DIR          identity key and pins (default /var/lib/edgemesh; also EDGEMESH_DATA_DIR)
  --admin-listen ADDR     health, status and metrics (default 127.0.0.1:10551; empty: off)
  --node-name NAME        how this relay is called (default: NODE_NAME, or the host name); unique among all nodes`;

export type Command =
  | {
      readonly kind: 'run';
      readonly configFile: string | undefined;
      readonly overrides: object;
      readonly nodeName: string | undefined;
    }
  | { readonly kind: 'print'; readonly what: 'version' | 'defaultconfig' | 'help' };

/** Reads the command line. Flags win over the file. @throws TypeError for an unknown flag */
export function readArguments(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Command {
  const { values } = parseArgs({
    args: [...args],
    options: {
      'config-file': { type: 'string' },
      listen: { type: 'string' },
      advertise: { type: 'string', multiple: true },
      'psk-file': { type: 'string' },
      'data-dir': { type: 'string' },
      'admin-listen': { type: 'string' },
      'node-name': { type: 'string' },
      defaultconfig: { type: 'boolean' },
      version: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  for (const what of ['version', 'defaultconfig', 'help'] as const) if (values[what]) return { kind: 'print', what };
  const dataDir = values['data-dir'] ?? env.EDGEMESH_DATA_DIR;
  const overrides = {
    ...(values.listen !== undefined && { listen: values.listen }),
    ...(values.advertise !== undefined && { advertiseAddress: values.advertise }),
    ...(values['psk-file'] !== undefined && { psk: { path: values['psk-file'] } }),
    ...(dataDir !== undefined && { dataDir }),
    ...(values['admin-listen'] !== undefined && { adminListen: values['admin-listen'] }),
  };
  return { kind: 'run', configFile: values['config-file'], overrides, nodeName: values['node-name'] ?? env.NODE_NAME };
}
