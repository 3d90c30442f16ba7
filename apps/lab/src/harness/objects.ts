/** One port of a Service and of the endpoints behind it. */
export interface PortSpec {
  readonly name?: string;
  readonly port: number;
  readonly targetPort?: number;
  readonly protocol?: 'TCP' | 'UDP';
  readonly nodePort?: number;
}

/** One endpoint of a slice. */
export interface EndpointSpec {
  readonly address: string;
  readonly node?: string;
  readonly hostname?: string;
  readonly pod?: string;
  readonly zone?: string;
  /** Zones that should use it (topology hints). */
  readonly hints?: readonly string[];
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
}

export interface ServiceSpec {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ports: readonly PortSpec[];
  readonly endpoints?: readonly EndpointSpec[];
  /** The Service's own spec, ports aside. */
  readonly spec: Readonly<Record<string, unknown>>;
  /** Addresses that a load balancer has been given, with their ipMode. */
  readonly ingress?: readonly { readonly ip: string; readonly ipMode?: 'VIP' | 'Proxy' }[];
}

/** A Service with one EndpointSlice per address family of its endpoints, as a cluster would keep them. */
export function makeService(plan: ServiceSpec): object[] {
  const { name, namespace = 'default', endpoints = [] } = plan;
  const ports = plan.ports.map((port) => ({ protocol: 'TCP', targetPort: port.port, ...port }));
  const { labels, annotations } = plan;
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, ...(labels && { labels }), ...(annotations && { annotations }) },
    spec: { selector: { app: name }, ports, ...plan.spec },
    ...(plan.ingress && { status: { loadBalancer: { ingress: plan.ingress } } }),
  };
  const slices = (['IPv4', 'IPv6'] as const).flatMap((addressType) => {
    const members = endpoints.filter(({ address }) => address.includes(':') === (addressType === 'IPv6'));
    if (members.length === 0) return [];
    return {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: `${name}-${addressType.toLowerCase()}`,
        namespace,
        labels: { 'kubernetes.io/service-name': name },
      },
      addressType,
      ports: ports.map((port) => ({ name: port.name ?? '', port: port.targetPort, protocol: port.protocol })),
      endpoints: members.map(({ address, node, hostname, pod, zone, hints, ready = true, serving, terminating }) => ({
        addresses: [address],
        ...(node !== undefined && { nodeName: node }),
        ...(zone !== undefined && { zone }),
        ...(hints !== undefined && { hints: { forZones: hints.map((name) => ({ name })) } }),
        ...(hostname !== undefined && { hostname }),
        ...(pod !== undefined && { targetRef: { kind: 'Pod', namespace, name: pod, uid: pod } }),
        conditions: { ready, serving: serving ?? ready, terminating: terminating ?? false },
      })),
    };
  });
  return [service, ...slices];
}

/** A Node object. */
export function makeNode(
  name: string,
  internalIP: string,
  more: { readonly podCIDR?: string; readonly labels?: Readonly<Record<string, string>> } = {},
): object {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: more.labels ?? {} },
    spec: more.podCIDR === undefined ? {} : { podCIDR: more.podCIDR, podCIDRs: [more.podCIDR] },
    status: { addresses: [{ type: 'InternalIP', address: internalIP }] },
  };
}

/** `spec` of a Service with this ClusterIP. */
export const clusterIP = (address: string, more: Readonly<Record<string, unknown>> = {}) => ({
  clusterIP: address,
  clusterIPs: [address],
  ...more,
});
