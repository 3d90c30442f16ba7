import { canonicalIp, ipVersion } from '@edgemesh/core';
import { DnsError } from '../errors.ts';
import { formatName, isWithin, type Name } from '../wire/name.ts';
import {
  createUpstream,
  type Upstream,
  type UpstreamDeps,
  type UpstreamHealth,
  type UpstreamTarget,
  upstreamName,
} from './upstream.ts';

const DNS_PORT = 53;

/** Reads `10.0.0.1`, `10.0.0.1:5353`, `fd00::1`, `[fd00::1]:5353`; a zone (`%eth0`) may follow the address. */
export function parseUpstream(text: string): UpstreamTarget {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  const dotted = bracketed ?? /^([\d.]+)(?::(\d{1,5}))?$/.exec(text);
  const address = dotted?.[1] ?? text;
  const port = Number(dotted?.[2] ?? DNS_PORT);
  if (ipVersion(address.replace(/%.*$/, '')) === 0 || port < 1 || port > 65_535) {
    throw new DnsError('invalid-options', `upstream ${JSON.stringify(text)} is not an address with an optional port`);
  }
  return { address: address.includes('%') ? address : (canonicalIp(address) ?? address), port };
}

/** Upstreams of one domain; the root is the default. */
export interface UpstreamRoute {
  readonly domain: Name;
  readonly targets: readonly UpstreamTarget[];
}

/** One upstream as `DnsServer.status` shows it. */
export interface UpstreamStatus extends UpstreamHealth {
  /** Domains it is asked for; `.` is everything without a domain of its own. */
  readonly domains: readonly string[];
}

/** Which upstreams serve which names. */
export interface UpstreamSet {
  /** All upstreams, each once. */
  readonly status: readonly UpstreamStatus[];
  /** Those for a lower-case name: the longest matching domain. */
  select(name: Name): readonly Upstream[];
  /** Replaces the routes; upstreams that stay keep their sockets and their health. */
  replace(routes: readonly UpstreamRoute[]): void;
  close(): void;
}

/** An upstream named in several routes is one upstream. */
export function createUpstreamSet(deps: UpstreamDeps): UpstreamSet {
  let byName = new Map<string, Upstream>();
  let routes: { readonly domain: Name; readonly upstreams: readonly Upstream[] }[] = [];
  const set: UpstreamSet = {
    get status() {
      return [...byName.values()].map((upstream) => ({
        ...upstream.health,
        domains: routes.filter((route) => route.upstreams.includes(upstream)).map(({ domain }) => formatName(domain)),
      }));
    },
    select(name) {
      for (const route of routes) if (isWithin(name, route.domain)) return route.upstreams;
      return [];
    },
    replace(next) {
      const kept = new Map<string, Upstream>();
      const take = (target: UpstreamTarget): Upstream => {
        const key = upstreamName(target);
        const upstream = kept.get(key) ?? byName.get(key) ?? createUpstream(target, deps);
        kept.set(key, upstream);
        return upstream;
      };
      routes = next
        .map(({ domain, targets }) => ({ domain, upstreams: [...new Set(targets.map(take))] }))
        .sort((a, b) => b.domain.length - a.domain.length);
      for (const [key, upstream] of byName) if (!kept.has(key)) upstream.close();
      byName = kept;
    },
    close: () => set.replace([]),
  };
  return set;
}
