import type { L4Backend, PortPlan, TlsChain, TlsHandler, TlsTermination } from '../model.ts';
import { createHttpDraft, type HttpDraft } from './http-draft.ts';

/** Who wants a port, and where. */
export interface PortWish {
  readonly port: number;
  /** Only on these addresses. */
  readonly addresses?: readonly string[];
  /** `Kind namespace/name`. */
  readonly owner: string;
}

/** Says that a wish cannot be fulfilled, and why. */
export interface Refusal {
  readonly refused: string;
}

interface Draft {
  readonly id: string;
  readonly wish: PortWish;
  readonly owners: Set<string>;
}
interface HttpPortDraft extends Draft {
  readonly kind: 'http';
  readonly http: HttpDraft;
}
interface TlsPortDraft extends Draft {
  readonly kind: 'tls';
  readonly chains: ChainDraft[];
}
interface L4PortDraft extends Draft {
  readonly kind: 'tcp' | 'udp';
  backends: readonly L4Backend[];
}
type AnyDraft = HttpPortDraft | TlsPortDraft | L4PortDraft;

interface ChainDraft {
  readonly name: string;
  readonly hosts: Set<string>;
  /** Chains with one identity are one chain. */
  readonly identity: string;
  readonly handler: TlsHandler | { readonly kind: 'http'; readonly tls: TlsTermination; readonly http: HttpDraft };
}

/** Collects what several Gateways want of the ports of a node. Who comes first has the say about a port or a TLS host. */
export class PortDrafts {
  private readonly drafts = new Map<string, AnyDraft>();
  private readonly maxRoutes: number;
  private readonly overflow: (port: string, host: string) => void;

  constructor(maxRoutes: number, overflow: (port: string, host: string) => void) {
    this.maxRoutes = maxRoutes;
    this.overflow = overflow;
  }

  /** Plain HTTP: everybody's virtual hosts in one table. */
  http(wish: PortWish): HttpDraft | Refusal {
    const draft = this.take(wish, 'TCP', (base) => ({ ...base, kind: 'http', http: this.httpDraft(base.id) }));
    return draft.kind === 'http' ? draft.http : occupied(draft, 'plain HTTP');
  }

  /** Terminated TLS with HTTP inside. Refused hosts belong to others already; the rest is served. */
  https(
    wish: PortWish,
    chain: { name: string; hosts: readonly string[]; tls: TlsTermination },
  ): (HttpDraft & { readonly taken: readonly string[] }) | Refusal {
    const draft = this.tls(wish);
    if ('refused' in draft) return draft;
    const identity = JSON.stringify(['http', chain.tls]);
    const { hosts, taken } = freeHosts(draft, chain.hosts, identity);
    let found = draft.chains.find((other) => other.identity === identity);
    if (found === undefined) {
      const http = this.httpDraft(draft.id);
      found = { name: chain.name, hosts: new Set(), identity, handler: { kind: 'http', tls: chain.tls, http } };
      draft.chains.push(found);
    }
    for (const host of hosts) found.hosts.add(host);
    return { ...(found.handler as { http: HttpDraft }).http, taken };
  }

  /** Any other chain. Answers which of its hosts belong to others already. */
  chain(wish: PortWish, chain: TlsChain): { readonly taken: readonly string[] } | Refusal {
    const draft = this.tls(wish);
    if ('refused' in draft) return draft;
    const identity = JSON.stringify(chain.handler);
    const { hosts, taken } = freeHosts(draft, chain.hosts, identity);
    if (hosts.length > 0)
      draft.chains.push({ name: chain.name, hosts: new Set(hosts), identity, handler: chain.handler });
    return { taken };
  }

  /** All connections or flows of a port to the same backends. */
  l4(wish: PortWish, kind: 'tcp' | 'udp', backends: readonly L4Backend[]): Refusal | undefined {
    const protocol = kind === 'udp' ? 'UDP' : 'TCP';
    const draft = this.take(wish, protocol, (base) => ({ ...base, kind, backends: [] }));
    if (draft.kind !== kind) return occupied(draft, protocol);
    if (draft.backends.length > 0 && backends.length > 0) {
      return {
        refused: `port ${draft.id} is taken by ${[...draft.owners].join(', ')}: bytes carry no name to tell routes apart`,
      };
    }
    if (backends.length > 0) draft.backends = backends;
    return undefined;
  }

  plans(): PortPlan[] {
    return [...this.drafts.values()].map((draft) => {
      const base = {
        id: draft.id,
        port: draft.wish.port,
        ...(draft.wish.addresses && { addresses: draft.wish.addresses }),
        owners: [...draft.owners],
      };
      if (draft.kind === 'http') return { ...base, kind: 'http', table: draft.http.table() };
      if (draft.kind === 'tls') return { ...base, kind: 'tls', chains: draft.chains.flatMap(chainOf) };
      return { ...base, kind: draft.kind, backends: draft.backends };
    });
  }

  private tls(wish: PortWish): TlsPortDraft | Refusal {
    const draft = this.take(wish, 'TCP', (base) => ({ ...base, kind: 'tls', chains: [] }));
    return draft.kind === 'tls' ? draft : occupied(draft, 'TLS');
  }

  private httpDraft(id: string): HttpDraft {
    return createHttpDraft(this.maxRoutes, (host) => this.overflow(id, host));
  }

  private take(wish: PortWish, protocol: string, make: (base: Draft) => AnyDraft): AnyDraft {
    const where = wish.addresses === undefined ? '' : ` on ${[...wish.addresses].sort().join(', ')}`;
    const id = `${protocol} ${wish.port}${where}`;
    let draft = this.drafts.get(id);
    if (draft === undefined) {
      draft = make({ id, wish, owners: new Set() });
      this.drafts.set(id, draft);
    }
    draft.owners.add(wish.owner);
    return draft;
  }
}

function occupied(draft: AnyDraft, wanted: string): Refusal {
  const what = { http: 'plain HTTP', tls: 'TLS', tcp: 'TCP', udp: 'UDP' }[draft.kind];
  return { refused: `port ${draft.id} serves ${what} for ${[...draft.owners][0]} already, not ${wanted}` };
}

function freeHosts(
  draft: TlsPortDraft,
  wanted: readonly string[],
  identity: string,
): { hosts: string[]; taken: string[] } {
  const taken = wanted.filter((host) =>
    draft.chains.some((other) => other.identity !== identity && other.hosts.has(host)),
  );
  return { hosts: wanted.filter((host) => !taken.includes(host)), taken };
}

function chainOf({ name, hosts, handler }: ChainDraft): TlsChain[] {
  if (hosts.size === 0) return [];
  const ready = 'http' in handler ? { kind: 'http' as const, tls: handler.tls, table: handler.http.table() } : handler;
  return [{ name, hosts: [...hosts], handler: ready }];
}
