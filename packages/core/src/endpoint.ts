import type { Protocol } from './service.ts';

/**
 * One address and port that serves one Service port. An endpoint is node + address: the same pod address may exist on
 * several nodes (docker's 172.17.0.2), so never key by the address alone; use {@link endpointKey}.
 */
export interface Endpoint {
  /** IPv4 or IPv6 address in canonical form, or a DNS name (FQDN slices). */
  readonly address: string;
  readonly port: number;
  readonly protocol: Protocol;
  /** Name of the Service port it serves; empty where unnamed. */
  readonly portName: string;
  /** The node it runs on, where the cluster says so. */
  readonly nodeName?: string;
  /** Pod hostname, for `hostname.service.namespace.svc` names. */
  readonly hostname?: string;
  readonly zone?: string;
  /** Zones and nodes that should use this endpoint (topology hints). Absent: everybody. */
  readonly hintZones?: readonly string[];
  readonly hintNodes?: readonly string[];
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly appProtocol?: string;
  readonly targetRef?: ObjectRef;
}

/** The object behind an endpoint, usually a Pod. */
export interface ObjectRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** Identity of an endpoint within its Service: node, address, port and protocol. */
export function endpointKey(endpoint: Pick<Endpoint, 'nodeName' | 'address' | 'port' | 'protocol'>): string {
  return `${endpoint.nodeName ?? ''}|${endpoint.address}|${endpoint.port}|${endpoint.protocol}`;
}
