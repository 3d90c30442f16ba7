import type { Endpoint, Service, ServiceId, ServicePort } from '@edgemesh/core';

/** Annotation of headless Services that must keep real addresses everywhere: `disabled`. */
export const VIRTUAL_ADDRESSES_ANNOTATION = 'edgemesh.kubeedge.io/virtual-addresses';

/** One pod of a headless Service, with all its endpoints. */
export interface VirtualTarget {
  /** Stable name of the pod within its Service: what its address is bound to. */
  readonly key: string;
  readonly endpoints: readonly Endpoint[];
}

/** True when names of the Service may give addresses that are not those of its pods. */
export function mayBeVirtual(service: Service): boolean {
  return (
    service.headless &&
    service.type !== 'ExternalName' &&
    service.annotations[VIRTUAL_ADDRESSES_ANNOTATION] !== 'disabled'
  );
}

/**
 * The pods of a headless Service that need an address of this node: their endpoints are behind the tunnel. A pod is known by its
 * hostname (`db-0` of a StatefulSet stays `db-0` wherever it is restarted), else by its name, else by node and address.
 */
export function virtualTargets(
  endpoints: readonly Endpoint[],
  needsTunnel: (endpoint: Endpoint) => boolean,
): readonly VirtualTarget[] {
  const groups = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    if (endpoint.port < 1 || endpoint.protocol === 'SCTP' || !needsTunnel(endpoint)) continue;
    let key = podName(endpoint);
    const first = key === undefined ? undefined : groups.get(key)?.[0];
    // Two pods of one name (hand-made endpoints): the name tells them apart no more.
    if (key === undefined || (first !== undefined && !isSamePod(first, endpoint))) key = placeOf(endpoint);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [endpoint]);
    else group.push(endpoint);
  }
  return [...groups].map(([key, list]) => ({ key, endpoints: list }));
}

const placeOf = (endpoint: Endpoint) => `at ${endpoint.nodeName} ${endpoint.address}`;

function podName({ hostname, targetRef }: Endpoint): string | undefined {
  if (hostname) return `host ${hostname}`;
  return targetRef?.kind === 'Pod' ? `pod ${targetRef.name}` : undefined;
}

/** The same node and, within a family, the same address: a dual-stack pod has one of each. */
function isSamePod(a: Endpoint, b: Endpoint): boolean {
  if (a.nodeName !== b.nodeName) return false;
  return a.address === b.address || a.address.includes(':') !== b.address.includes(':');
}

/** A Service of this node alone, with one pod behind it: what makes the rules and listeners for a virtual address. */
export function virtualService(
  service: Service,
  target: VirtualTarget,
  address: string,
): { readonly service: Service; readonly endpoints: readonly Endpoint[] } {
  const label = target.key.replaceAll(/[^\w.:-]+/g, '_');
  const name = `${service.name}#${label}`;
  const ports = new Map<string, ServicePort>();
  const endpoints: Endpoint[] = [];
  for (const endpoint of target.endpoints) {
    const { protocol, port } = endpoint;
    const key = `${protocol} ${port}`;
    if (ports.has(key)) continue;
    // Named by number: port names need not be unique among the endpoints of one pod.
    ports.set(key, { name: `${port}`, protocol, port });
    // Whoever asks for this very pod gets it, ready or not, as by its own address.
    endpoints.push({ ...endpoint, portName: `${port}`, ready: true, serving: true, terminating: false });
  }
  return {
    service: {
      ...service,
      id: `${service.namespace}/${name}` as ServiceId,
      name,
      annotations: {},
      type: 'ClusterIP',
      clusterIPs: [address],
      headless: false,
      externalIPs: [],
      loadBalancerIngress: [],
      ports: [...ports.values()],
      sessionAffinity: { type: 'None' },
      internalTrafficPolicy: 'Cluster',
      externalTrafficPolicy: 'Cluster',
    },
    endpoints,
  };
}
