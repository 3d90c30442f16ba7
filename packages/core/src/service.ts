/** Transport protocols a Service port can name (Kubernetes core/v1). SCTP is recognised and never proxied. */
export type Protocol = 'TCP' | 'UDP' | 'SCTP';

/** `namespace/name` of a Service: the key of every map that speaks about Services. */
export type ServiceId = `${string}/${string}`;

/** Makes the {@link ServiceId} of a Service. */
export function serviceId(namespace: string, name: string): ServiceId {
  return `${namespace}/${name}`;
}

/** Splits a {@link ServiceId} at its first slash. */
export function parseServiceId(id: ServiceId): { namespace: string; name: string } {
  const slash = id.indexOf('/');
  return { namespace: id.slice(0, slash), name: id.slice(slash + 1) };
}

/** One port of a Service. */
export interface ServicePort {
  /** Port name; the empty string where the Service has a single unnamed port. */
  readonly name: string;
  readonly protocol: Protocol;
  /** Port on the ClusterIP, 1 to 65535. */
  readonly port: number;
  /** As written in the Service: a number, or the name of a container port. */
  readonly targetPort?: number | string;
  readonly nodePort?: number;
  /** Application protocol hint: `http`, `https`, `kubernetes.io/h2c`, `kubernetes.io/ws`, ... */
  readonly appProtocol?: string;
}

/** Session affinity of a Service; the timeout slides with every connection. */
export type SessionAffinity =
  | { readonly type: 'None' }
  | { readonly type: 'ClientIP'; readonly timeoutSeconds: number };

/** One ingress address of a LoadBalancer Service. */
export interface LoadBalancerIngress {
  readonly ip: string;
  /** `Proxy` means that traffic must not be short-circuited inside the cluster (KEP-1860). */
  readonly ipMode: 'VIP' | 'Proxy';
}

export type TrafficPolicy = 'Cluster' | 'Local';

/** A Service, normalised from core/v1: every list is present, every default is filled in. */
export interface Service {
  readonly id: ServiceId;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';
  /** Cluster addresses, IPv4 and IPv6, without `None`. Empty for headless and ExternalName Services. */
  readonly clusterIPs: readonly string[];
  /** True for `clusterIP: None`. */
  readonly headless: boolean;
  /** Lower-case target name of an ExternalName Service, without trailing dot. */
  readonly externalName?: string;
  readonly externalIPs: readonly string[];
  readonly loadBalancerIngress: readonly LoadBalancerIngress[];
  /** CIDRs; empty means everybody. */
  readonly loadBalancerSourceRanges: readonly string[];
  readonly healthCheckNodePort?: number;
  readonly ports: readonly ServicePort[];
  readonly sessionAffinity: SessionAffinity;
  readonly internalTrafficPolicy: TrafficPolicy;
  readonly externalTrafficPolicy: TrafficPolicy;
  readonly publishNotReadyAddresses: boolean;
  readonly trafficDistribution?: string;
  /** False when somebody else maintains the endpoints. */
  readonly hasSelector: boolean;
}
