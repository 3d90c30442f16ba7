import type { Endpoint, Flow, Outcome } from '@edgemesh/core';

/**
 * Where a flow goes: one Service port with its endpoints and its balancer, or anything else that can choose. The hot path
 * calls it synchronously.
 */
export interface Upstream {
  /** For logs: `namespace/name:port`. */
  readonly name: string;
  /** Chooses an endpoint; undefined when none is left. */
  pick(flow: Flow, exclude?: ReadonlySet<string>): Endpoint | undefined;
  /** How it went, for balancers that learn. */
  report?(endpoint: Endpoint, outcome: Outcome): void;
  /** Called when a picked endpoint is used, and when that use is over. */
  begin?(endpoint: Endpoint): void;
  end?(endpoint: Endpoint): void;
}

/** The client's side of a connection or flow, as known when it is routed. */
export interface ClientAddress {
  /** Canonical; IPv4 even where it arrived on an IPv6 socket. */
  readonly address: string;
  readonly port: number;
}

/** `::ffff:192.0.2.1`, as dual-stack sockets name IPv4 clients, becomes `192.0.2.1`. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}
