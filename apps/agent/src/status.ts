import type { Discovery } from '@edgemesh/discovery';
import type { ModuleReport } from '@edgemesh/telemetry';
import type { Tunnel } from '@edgemesh/tunnel';
import { VERSION } from './args.ts';

/** The `/status` document: what an operator looks at first. */
export interface AgentStatus {
  readonly node: string;
  readonly version: string;
  readonly uptimeMs: number;
  readonly modules: readonly {
    readonly name: string;
    readonly state: string;
    readonly reason: string;
    readonly since: string;
  }[];
  readonly catalog: {
    readonly services: number;
    readonly endpoints: number;
    /** `authoritative`, `hint`, `snapshot` or `none`: what the catalog stands on. */
    readonly source: string;
    /** Milliseconds since the data was last confirmed; null when it never was. */
    readonly ageMs: number | null;
  };
  readonly relays: ReturnType<Tunnel['relays']>;
  readonly peers: ReturnType<Tunnel['peers']>;
  readonly flows: { readonly tcp: number; readonly udp: number };
  /** Modules' own details, by module name. */
  readonly details: Readonly<Record<string, unknown>>;
}

export interface StatusSources {
  readonly nodeName: string;
  readonly startedAt: number;
  readonly now: number;
  readonly modules: readonly ModuleReport[];
  readonly discovery: Discovery;
  readonly tunnel: Tunnel | undefined;
  readonly flows: { readonly tcp: number; readonly udp: number };
  readonly details: Readonly<Record<string, unknown>>;
}

export function readStatus(from: StatusSources): AgentStatus {
  const { services, endpoints, source, ageMs } = from.discovery.status();
  return {
    node: from.nodeName,
    version: VERSION,
    uptimeMs: Math.round(from.now - from.startedAt),
    modules: from.modules.map(({ name, state, reason, since }) => ({ name, state, reason, since })),
    catalog: { services, endpoints, source, ageMs: ageMs === undefined ? null : Math.round(ageMs) },
    relays: from.tunnel?.relays() ?? [],
    peers: from.tunnel?.peers() ?? [],
    flows: from.flows,
    details: from.details,
  };
}
