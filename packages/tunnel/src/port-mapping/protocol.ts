import type { SocketAddress } from '../types.ts';

/** How a mapping came about. */
export type MappingProtocol = 'pcp' | 'nat-pmp' | 'upnp';

/** A TCP port of ours that the router shall pass on. */
export interface MappingRequest {
  readonly internalPort: number;
  /** The port that we should like to have outside; the router may give another. */
  readonly externalPort: number;
  /** 0 takes the mapping back. */
  readonly lifetimeSeconds: number;
}

/** What the router granted. */
export interface GrantedMapping {
  /** Where the world reaches us, as far as this router knows. */
  readonly external: SocketAddress;
  /** 0 stands for "until it is taken back". */
  readonly lifetimeSeconds: number;
}

/** A router that speaks one of the protocols. */
export interface MappingGateway {
  readonly protocol: MappingProtocol;
  /** Asks for the mapping, renews it, or takes it back. Rejects with TunnelError. */
  map(request: MappingRequest, signal: AbortSignal): Promise<GrantedMapping>;
  unmap(request: MappingRequest, signal: AbortSignal): Promise<void>;
}
