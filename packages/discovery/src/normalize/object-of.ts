import { type Endpoint, ipVersion, type KubeObject, type NodeInfo, parseServiceId, type Service } from '@edgemesh/core';
import type { NormalisedObject } from './any.ts';
import type { Backends } from './backends.ts';
import { SERVICE_NAME_LABEL } from './endpoint-slice.ts';
import { sameJson } from './equal.ts';

/**
 * A Kubernetes object that normalises to just this: what snapshots are made of. Whatever the normal form leaves out is not in it.
 */
export function objectOf(normalised: NormalisedObject): KubeObject {
  const { kind, key, apiVersion, uid, resourceVersion } = normalised;
  if (normalised.object !== undefined) return normalised.object;
  const slash = key.indexOf('/');
  const metadata = {
    name: key.slice(slash + 1),
    ...(slash >= 0 && { namespace: key.slice(0, slash) }),
    ...(uid !== undefined && { uid }),
    ...(resourceVersion !== undefined && { resourceVersion }),
  };
  const bare = { apiVersion, kind: kind.split('.', 1)[0] as string, metadata };
  if (normalised.service !== undefined) return { ...bare, ...serviceFields(normalised.service, metadata) };
  if (normalised.node !== undefined) return { ...bare, ...nodeFields(normalised.node, metadata) };
  if (normalised.backends === undefined) return bare;
  return kind === 'Endpoints'
    ? { ...bare, subsets: subsetsOf(normalised.backends.endpoints) }
    : { ...bare, ...sliceFields(normalised.backends, metadata) };
}

function serviceFields(service: Service, metadata: KubeObject['metadata']) {
  const { labels, annotations, sessionAffinity, headless, clusterIPs, loadBalancerIngress } = service;
  return {
    metadata: { ...metadata, labels, annotations },
    spec: {
      type: service.type,
      ...(headless ? { clusterIP: 'None' } : { clusterIPs }),
      externalName: service.externalName,
      externalIPs: service.externalIPs,
      loadBalancerSourceRanges: service.loadBalancerSourceRanges,
      healthCheckNodePort: service.healthCheckNodePort,
      ports: service.ports,
      sessionAffinity: sessionAffinity.type,
      ...(sessionAffinity.type === 'ClientIP' && {
        sessionAffinityConfig: { clientIP: { timeoutSeconds: sessionAffinity.timeoutSeconds } },
      }),
      internalTrafficPolicy: service.internalTrafficPolicy,
      externalTrafficPolicy: service.externalTrafficPolicy,
      publishNotReadyAddresses: service.publishNotReadyAddresses,
      trafficDistribution: service.trafficDistribution,
      // which pods it selects is the control plane's business; that it does select is ours
      ...(service.hasSelector && { selector: { kept: 'no' } }),
    },
    ...(loadBalancerIngress.length > 0 && { status: { loadBalancer: { ingress: loadBalancerIngress } } }),
  };
}

function nodeFields(node: NodeInfo, metadata: KubeObject['metadata']) {
  return {
    metadata: { ...metadata, labels: node.labels },
    spec: { podCIDRs: node.podCIDRs },
    status: { addresses: node.internalIPs.map((address) => ({ type: 'InternalIP', address })) },
  };
}

function sliceFields({ service, endpoints }: Backends, metadata: KubeObject['metadata']) {
  const ports = portsOf(endpoints, 0);
  const first = endpoints[0] === undefined ? 4 : ipVersion(endpoints[0].address);
  return {
    metadata: { ...metadata, labels: { [SERVICE_NAME_LABEL]: parseServiceId(service).name } },
    addressType: first === 0 ? 'FQDN' : `IPv${first}`,
    ports: listedPorts(ports),
    // every address of a slice has all of its ports, one after the other
    endpoints: endpoints.filter((_, i) => i % ports.length === 0).map(sliceEntry),
  };
}

function sliceEntry(endpoint: Endpoint) {
  const { address, nodeName, hostname, zone, hintZones, hintNodes, ready, serving, terminating, targetRef } = endpoint;
  const named = (names: readonly string[] | undefined) => names?.map((name) => ({ name }));
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    nodeName,
    hostname,
    zone,
    ...((hintZones ?? hintNodes) && { hints: { forZones: named(hintZones), forNodes: named(hintNodes) } }),
    targetRef,
  };
}

interface Subset {
  readonly ready: boolean;
  readonly ports: readonly Endpoint[];
  readonly entries: object[];
}

/** Endpoints in their order; neighbours with the same ports share a subset. */
function subsetsOf(endpoints: readonly Endpoint[]) {
  const subsets: Subset[] = [];
  for (let i = 0; i < endpoints.length; ) {
    const { address, nodeName, hostname, targetRef, ready } = endpoints[i] as Endpoint;
    const ports = portsOf(endpoints, i);
    const last = subsets.at(-1);
    const entry = { ip: address, nodeName, hostname, targetRef };
    if (last !== undefined && last.ready === ready && samePorts(last.ports, ports)) last.entries.push(entry);
    else subsets.push({ ready, ports, entries: [entry] });
    i += ports.length;
  }
  return subsets.map(({ ready, ports, entries }) => ({
    [ready ? 'addresses' : 'notReadyAddresses']: entries,
    ports: listedPorts(ports),
  }));
}

/** The endpoints of one address, one for each port: up to where a port comes again, or another pod. */
function portsOf(endpoints: readonly Endpoint[], from: number): readonly Endpoint[] {
  const first = endpoints[from];
  const seen = new Set<string>();
  let to = from;
  for (; to < endpoints.length; to++) {
    const next = endpoints[to] as Endpoint;
    const key = `${next.portName} ${next.port} ${next.protocol}`;
    // port 0 stands for "no ports at all" and so never stands beside others
    if (
      first === undefined ||
      !isSamePlace(first, next) ||
      seen.has(key) ||
      (to > from && next.port * first.port === 0)
    )
      break;
    seen.add(key);
  }
  return endpoints.slice(from, to);
}

function isSamePlace(a: Endpoint, b: Endpoint): boolean {
  return (
    a.address === b.address &&
    a.nodeName === b.nodeName &&
    a.hostname === b.hostname &&
    a.ready === b.ready &&
    sameJson(a.targetRef, b.targetRef)
  );
}

function samePorts(a: readonly Endpoint[], b: readonly Endpoint[]): boolean {
  return JSON.stringify(listedPorts(a)) === JSON.stringify(listedPorts(b));
}

function listedPorts(ports: readonly Endpoint[]) {
  return ports
    .filter(({ port }) => port > 0)
    .map(({ portName, port, protocol, appProtocol }) => ({ name: portName, port, protocol, appProtocol }));
}
