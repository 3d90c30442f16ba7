import { mustRun, type Runner } from '@edgemesh/linux';

/** IPv6 works on no smaller link (RFC 8200, section 5). */
export const MIN_MTU = 1_280;
/** Ethernet's, where there is no uplink yet. */
export const DEFAULT_MTU = 1_500;

interface RouteJson {
  readonly dev?: string;
  readonly metric?: number;
  readonly nexthops?: readonly { readonly dev?: string }[];
}

/**
 * The MTU of the link that has the default route, in bytes: what pods may send without being cut on the way out. Undefined where
 * there is none at the moment.
 */
export async function uplinkMtu(runner: Runner): Promise<number | undefined> {
  for (const family of ['-4', '-6']) {
    const { stdout } = await mustRun(runner, 'ip', [family, '-j', 'route', 'show', 'default']);
    const device = bestDevice(parseList<RouteJson>(stdout));
    if (device === undefined) continue;
    const shown = await mustRun(runner, 'ip', ['-j', 'link', 'show', 'dev', device]);
    const mtu = parseList<{ readonly mtu?: number }>(shown.stdout).find((link) => link.mtu !== undefined)?.mtu;
    if (mtu !== undefined) return Math.min(Math.max(mtu, MIN_MTU), 65_535);
  }
  return undefined;
}

function bestDevice(routes: readonly RouteJson[]): string | undefined {
  const [best] = routes.toSorted((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
  return best?.dev ?? best?.nexthops?.[0]?.dev;
}

/** What `ip -j` printed; nothing, where there is nothing. */
export function parseList<T>(text: string): T[] {
  if (text.trim() === '') return [];
  const value: unknown = JSON.parse(text);
  return Array.isArray(value) ? (value as T[]) : [];
}
