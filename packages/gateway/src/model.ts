import type { ServiceId } from '@edgemesh/core';
import type { RouteTable } from '@edgemesh/proxy-http';

/*
 * What Gateways and routes of every kind are compiled to: ports with their routes, and what could not be understood. Plain
 * immutable data; made by a pure function of the catalog.
 */

/** What an object asks for and does not get. Never an exception. */
export interface Condition {
  /** `Kind namespace/name`. */
  readonly object: string;
  /** Where in the object: `spec.http[0].match[1].uri`. */
  readonly path: string;
  readonly message: string;
}

/** Something that the plan reads, or would read if it were there, of a kind of which not everything is known. */
export interface FollowRef {
  readonly kind: 'Secret' | 'ConfigMap' | 'Pod';
  readonly namespace: string;
  /** Absent: all of the namespace. */
  readonly name?: string;
}

/** Everything that the gateway shall do. */
export interface GatewayPlan {
  readonly ports: readonly PortPlan[];
  readonly conditions: readonly Condition[];
  /** Conditions beyond the limit, not kept. */
  readonly droppedConditions: number;
  /** Secrets first: a door without its certificate stays shut. */
  readonly follows: readonly FollowRef[];
  /** What should be written back to objects of the Gateway API, once it is known which ports are open. */
  readonly statuses: readonly ObjectStatus[];
}

/** One port of the node and what listens there. Ports with one `id` never appear twice. */
export type PortPlan = HttpPort | TlsPort | TcpPort | UdpPort;

interface PortBase {
  /** `TCP 80`, or `TCP 80 on 192.0.2.1`. */
  readonly id: string;
  readonly port: number;
  /** Only on these addresses; absent: on all that the options allow. */
  readonly addresses?: readonly string[];
  /** Objects that asked for it, `Kind namespace/name`. */
  readonly owners: readonly string[];
}

/** Plain HTTP/1.1 and HTTP/2 with prior knowledge. */
export interface HttpPort extends PortBase {
  readonly kind: 'http';
  readonly table: RouteTable;
}

/** TLS: the server name of the ClientHello chooses a chain. */
export interface TlsPort extends PortBase {
  readonly kind: 'tls';
  readonly chains: readonly TlsChain[];
}

/** What is done with TLS connections to some server names. The most specific pattern wins, among equals the first. */
export interface TlsChain {
  readonly name: string;
  /** `a.example.com`, `*.example.com`, or `*`. */
  readonly hosts: readonly string[];
  readonly handler: TlsHandler;
}

/** Terminate and route requests; terminate and pass bytes; pass the encrypted bytes; or refuse, and say why. */
export type TlsHandler =
  | { readonly kind: 'http'; readonly tls: TlsTermination; readonly table: RouteTable }
  | { readonly kind: 'tcp'; readonly tls: TlsTermination; readonly backends: readonly L4Backend[] }
  | { readonly kind: 'passthrough'; readonly backends: readonly L4Backend[] }
  | { readonly kind: 'refused'; readonly reason: string };

/** How TLS is terminated. PEM texts. */
export interface TlsTermination {
  readonly certificates: readonly { readonly cert: string; readonly key: string }[];
  /** Client certificates must be signed by one of these; absent: none is asked for. */
  readonly clientCa?: string;
  /** Ask for a certificate but let clients without one in. */
  readonly clientCertOptional?: boolean;
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  /** OpenSSL names; absent: the defaults of Node. */
  readonly ciphers?: readonly string[];
}

export type TlsVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';

/** Bytes of each connection go to one backend. */
export interface TcpPort extends PortBase {
  readonly kind: 'tcp';
  readonly backends: readonly L4Backend[];
}

/** Datagrams of each client go to one backend. */
export interface UdpPort extends PortBase {
  readonly kind: 'udp';
  readonly backends: readonly L4Backend[];
}

/** A share of the connections. */
export interface L4Backend {
  readonly weight: number;
  /** Absent: the reference could not be resolved, and its share is reset. */
  readonly target?: L4Target;
}

/** A Service port, or a subset of its endpoints. */
export interface L4Target {
  readonly service: ServiceId;
  readonly port: number;
  readonly portName: string;
  readonly protocol: 'TCP' | 'UDP';
  readonly subset?: string;
}

/** A status to write back: everything but what only running gateways know, which `renderStatuses` adds. */
export interface ObjectStatus {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  readonly uid?: string;
  readonly status: Readonly<Record<string, unknown>>;
  /** Of a Gateway: the port plan of each listener that has one. Of an Ingress: the port plans it is served on. */
  readonly listenerPorts?: Readonly<Record<string, string>>;
}
