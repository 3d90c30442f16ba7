import { parseArgs } from 'node:util';

/** Where the agent of this node answers, unless its `commonConfig.adminListen` says otherwise. */
export const DEFAULT_ADMIN = 'http://127.0.0.1:10551';
const MAX_COUNT = 1_000;

interface Common {
  /** Base URL of the agent's admin endpoint, without trailing slash. */
  readonly admin: string;
  /** Print what the agent says, as JSON. */
  readonly json: boolean;
}

export type Command =
  | ({ readonly kind: 'status' } & Common)
  | ({ readonly kind: 'why'; readonly service: string; readonly namespace: string | undefined } & Common)
  | ({ readonly kind: 'ping'; readonly node: string; readonly count: number } & Common)
  | ({ readonly kind: 'doctor' } & Common)
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly message: string };

export const USAGE = `usage: edgemesh status              modules, relays, peers and paths of this node's agent
       edgemesh why SERVICE        where a Service leads from this node, and why not elsewhere
       edgemesh ping NODE          round trips to another node's agent through the tunnel, with the path in use
       edgemesh doctor             checks everything it can, and says what to do about what is wrong

options: --admin URL    the agent's admin endpoint (default ${DEFAULT_ADMIN}, or EDGEMESH_ADMIN)
         --json         the agent's own words
         -n NAMESPACE   for why: namespace of a name that has none (default "default")
         -c COUNT       for ping: how many (default 4)

SERVICE is hello, hello.shop, shop/hello, hello.shop.svc.cluster.local or a ClusterIP.
Exit code: 0 all is well, 1 something is wrong, 2 wrong usage.`;

export function readArguments(args: readonly string[], defaultAdmin = DEFAULT_ADMIN): Command {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        admin: { type: 'string', default: defaultAdmin },
        json: { type: 'boolean', default: false },
        namespace: { type: 'string', short: 'n' },
        count: { type: 'string', short: 'c', default: '4' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    const [command, ...rest] = positionals;
    if (values.help || command === undefined || command === 'help') return { kind: 'help' };
    const admin = readAdmin(values.admin);
    if (admin === undefined) return wrong(`--admin ${values.admin}: give a URL such as ${DEFAULT_ADMIN}`);
    const common = { admin, json: values.json };
    const [subject] = rest;
    switch (command) {
      case 'status':
      case 'doctor':
        return rest.length === 0 ? { kind: command, ...common } : wrong(`${command} takes no argument`);
      case 'why':
        if (subject === undefined || rest.length > 1) return wrong('why takes one SERVICE');
        return { kind: 'why', service: subject, namespace: values.namespace, ...common };
      case 'ping': {
        if (subject === undefined || rest.length > 1) return wrong('ping takes one NODE');
        const count = /^\d+$/.test(values.count) ? Number(values.count) : 0;
        if (count < 1 || count > MAX_COUNT) return wrong(`-c ${values.count}: a number from 1 to ${MAX_COUNT}`);
        return { kind: 'ping', node: subject, count, ...common };
      }
      default:
        return wrong(`unknown command: ${command}`);
    }
  } catch (error) {
    return wrong(error instanceof Error ? error.message : String(error));
  }
}

function wrong(message: string): Command {
  return { kind: 'wrong', message };
}

/** `127.0.0.1:10551` counts too. */
function readAdmin(text: string): string | undefined {
  const url = /^https?:\/\//.test(text) ? text : `http://${text}`;
  return URL.canParse(url) ? url.replace(/\/+$/, '') : undefined;
}
