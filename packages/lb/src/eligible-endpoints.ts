import type { Endpoint, NodeInfo, Protocol, Service } from '@edgemesh/core';

/** Where the traffic starts. */
export interface EndpointContext {
  /** Our node. */
  readonly nodeName: string;
  /** Our `topology.kubernetes.io/zone`. */
  readonly zone?: string;
  /** Our node's labels. */
  readonly nodeLabels?: Readonly<Record<string, string>>;
  /** All nodes, needed for node groups only. */
  readonly nodes?: ReadonlyMap<string, NodeInfo>;
  /** Keeps endpoints of this protocol only; a port name may exist once per protocol. */
  readonly protocol?: Protocol;
}

type ServiceTraits = Pick<
  Service,
  'annotations' | 'internalTrafficPolicy' | 'publishNotReadyAddresses' | 'trafficDistribution'
>;

/** KubeEdge's annotation: only endpoints in the node group of the client's node. */
const SERVICE_TOPOLOGY = 'apps.kubeedge.io/service-topology';
const NODE_GROUP_LABEL = 'apps.kubeedge.io/belonging-to';

/**
 * The endpoints that may serve a Service port for traffic that starts on this node, by kube-proxy's rules
 * (pkg/proxy/topology.go): ready ones; where none is ready, those that still serve while terminating; of these the local ones
 * for `internalTrafficPolicy: Local`, else what topology hints or `trafficDistribution` prefer. Order is kept.
 */
export function eligibleEndpoints(
  service: ServiceTraits,
  endpoints: readonly Endpoint[],
  portName: string,
  context: EndpointContext,
): readonly Endpoint[] {
  const { protocol } = context;
  const ofPort = inNodeGroup(
    service,
    endpoints.filter((e) => e.portName === portName && (protocol === undefined || e.protocol === protocol)),
    context,
  );
  const isReady = (e: Endpoint) => e.ready || (service.publishNotReadyAddresses && !e.terminating);
  const isLeaving = (e: Endpoint) => e.serving && e.terminating;
  if (service.internalTrafficPolicy === 'Local') {
    const local = ofPort.filter((e) => e.nodeName === context.nodeName);
    return firstNonEmpty(local.filter(isReady), local.filter(isLeaving));
  }
  const ready = ofPort.filter(isReady);
  return ready.length > 0 ? nearest(service, ready, context) : ofPort.filter(isLeaving);
}

function firstNonEmpty(a: readonly Endpoint[], b: readonly Endpoint[]): readonly Endpoint[] {
  return a.length > 0 ? a : b;
}

/** Hints count only when every ready endpoint has them and one is for us; otherwise the control plane is not done yet. */
function nearest(service: ServiceTraits, ready: readonly Endpoint[], context: EndpointContext): readonly Endpoint[] {
  const { nodeName, zone } = context;
  if (ready.every((e) => e.hintNodes?.length)) {
    const forNode = ready.filter((e) => e.hintNodes?.includes(nodeName));
    if (forNode.length > 0) return forNode;
  }
  if (zone !== undefined && ready.every((e) => e.hintZones?.length)) {
    const forZone = ready.filter((e) => e.hintZones?.includes(zone));
    if (forZone.length > 0) return forZone;
  }
  if (ready.some((e) => e.hintZones?.length || e.hintNodes?.length)) return ready;
  return asDistributed(service.trafficDistribution, ready, context);
}

/** The wish of the Service where no control plane has written hints: Endpoints, old clusters, manifests in a folder. */
function asDistributed(
  wish: string | undefined,
  ready: readonly Endpoint[],
  { nodeName, zone }: EndpointContext,
): readonly Endpoint[] {
  if (wish === 'PreferSameNode') {
    const sameNode = ready.filter((e) => e.nodeName === nodeName);
    if (sameNode.length > 0) return sameNode;
  }
  if (wish !== 'PreferSameNode' && wish !== 'PreferSameZone' && wish !== 'PreferClose') return ready;
  if (zone === undefined || !ready.every((e) => e.zone !== undefined)) return ready;
  return firstNonEmpty(
    ready.filter((e) => e.zone === zone),
    ready,
  );
}

/** A node outside every group is not restricted. */
function inNodeGroup(
  service: ServiceTraits,
  endpoints: readonly Endpoint[],
  { nodeLabels, nodes }: EndpointContext,
): readonly Endpoint[] {
  if (service.annotations[SERVICE_TOPOLOGY] !== 'range-nodegroup') return endpoints;
  const group = nodeLabels?.[NODE_GROUP_LABEL];
  if (group === undefined || nodes === undefined) return endpoints;
  return endpoints.filter((e) => e.nodeName !== undefined && nodes.get(e.nodeName)?.labels[NODE_GROUP_LABEL] === group);
}
