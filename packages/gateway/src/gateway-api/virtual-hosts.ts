import type { Route } from '@edgemesh/proxy-http';
import { bySpecificity, hostCovers } from '../common/hosts.ts';
import type { Listener } from './listener.ts';
import { byPrecedence, type RankedRoute } from './precedence.ts';

/** Routes of one listener, by hostname. */
export type ListenerRoutes = ReadonlyMap<string, readonly RankedRoute[]>;

/**
 * The virtual hosts of one listener among those that share its port. A request belongs to the listener with the most specific
 * hostname alone. Within it the most specific hostname of routes comes first, and what its routes do not match goes on to
 * less specific ones: each host's list holds all of them in order, so that nothing has to fall through.
 */
export function virtualHostsOf(
  listener: Listener,
  routes: ListenerRoutes,
  others: readonly Listener[],
): Map<string, Route[]> {
  const hosts = new Set([listener.hostname, ...routes.keys()]);
  const found = new Map<string, Route[]>();
  for (const host of hosts) {
    // Requests for these hosts go to a listener that names them better.
    const better = others.some(
      (other) =>
        other !== listener &&
        other.hostname !== listener.hostname &&
        hostCovers(listener.hostname, other.hostname) &&
        hostCovers(other.hostname, host),
    );
    if (better) continue;
    const covering = [...routes.keys()].filter((pattern) => hostCovers(pattern, host)).sort(bySpecificity);
    found.set(
      host,
      covering.flatMap((pattern) => [...(routes.get(pattern) ?? [])].sort(byPrecedence).map(({ route }) => route)),
    );
  }
  return found;
}
