import type { Route, RouteTable, VirtualHost } from '@edgemesh/proxy-http';

/** Virtual hosts of one listener while they are collected. */
export interface HttpDraft {
  /**
   * Adds routes to a host pattern. Routes of several owners keep the order in which they come, but `last` ones (those that
   * match everything) go behind all others of the host.
   */
  add(host: string, routes: readonly Route[], last?: (route: Route) => boolean): void;
  /** Routes of all hosts. */
  readonly size: number;
  table(): RouteTable;
}

interface Host {
  readonly groups: { readonly routes: readonly Route[]; readonly last: (route: Route) => boolean }[];
}

const never = () => false;

/** Makes an empty draft; routes above the limit are left out. */
export function createHttpDraft(maxRoutes: number, overflow: (host: string) => void): HttpDraft {
  const hosts = new Map<string, Host>();
  let size = 0;
  return {
    get size() {
      return size;
    },
    add(host, routes, last = never) {
      let found = hosts.get(host);
      if (found === undefined) {
        found = { groups: [] };
        hosts.set(host, found);
      }
      const room = maxRoutes - size;
      if (routes.length > room) overflow(host);
      const taken = routes.slice(0, room);
      size += taken.length;
      if (taken.length > 0) found.groups.push({ routes: taken, last });
    },
    table: () => ({ virtualHosts: [...hosts].map(([host, { groups }]) => virtualHostOf(host, groups)) }),
  };
}

function virtualHostOf(host: string, groups: Host['groups']): VirtualHost {
  const [only] = groups;
  if (groups.length === 1 && only !== undefined) return { name: host, hosts: [host], routes: only.routes };
  const first: Route[] = [];
  const behind: Route[] = [];
  for (const { routes, last } of groups) for (const route of routes) (last(route) ? behind : first).push(route);
  return { name: host, hosts: [host], routes: [...first, ...behind] };
}
