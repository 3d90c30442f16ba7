import {
  canonicalIp,
  ipVersion,
  parseCidr,
  type RuleFrontend,
  type Service,
  type ServicePort,
  type TrafficPolicy,
} from '@edgemesh/core';

/** Frontends of a Service port that share one pool of endpoints. */
export interface FrontendPart {
  /** Tells the rules of one port apart. */
  readonly suffix: '' | ':external' | ':local';
  /** Which endpoints serve them. */
  readonly policy: TrafficPolicy;
  readonly frontends: readonly RuleFrontend[];
}

/**
 * Sorts the addresses of a Service port by who may be reached through them (kube-proxy's rules):
 *
 * | frontends | clients | endpoints |
 * | --- | --- | --- |
 * | ClusterIPs | everybody | internalTrafficPolicy |
 * | external IPs, load balancer addresses, node port; externalTrafficPolicy Cluster | everybody, masqueraded | all |
 * | the same; Local | from this node and its pods | all |
 * | the same; Local | from outside, with their own address | on this node |
 */
export function planFrontends(
  service: Service,
  port: ServicePort,
  family: 4 | 6,
  masqueradeAll: boolean,
): readonly FrontendPart[] {
  const local = service.externalTrafficPolicy === 'Local';
  const internal = clusterFrontends(service, port, family, masqueradeAll);
  const external = externalFrontends(service, port, family, !local);
  if (external.length > 0 && !local && service.internalTrafficPolicy === 'Cluster') {
    return [{ suffix: '', policy: 'Cluster', frontends: [...internal, ...external] }];
  }
  const parts: FrontendPart[] = [
    { suffix: '', policy: service.internalTrafficPolicy, frontends: internal },
    { suffix: ':external', policy: 'Cluster', frontends: external },
    {
      suffix: ':local',
      policy: 'Local',
      frontends: local ? external.map((frontend) => ({ ...frontend, origin: 'external' as const })) : [],
    },
  ];
  return parts.filter((part) => part.frontends.length > 0);
}

function clusterFrontends(service: Service, port: ServicePort, family: 4 | 6, masquerade: boolean): RuleFrontend[] {
  return ofFamily(service.clusterIPs, family).map((address) => ({
    kind: 'address',
    address,
    port: port.port,
    origin: 'any',
    masquerade,
  }));
}

function externalFrontends(service: Service, port: ServicePort, family: 4 | 6, masquerade: boolean): RuleFrontend[] {
  // As kube-proxy does: ranges of the other family do not count, so a list of those alone does not lock everybody out.
  const sourceRanges = service.loadBalancerSourceRanges
    .map((range) => range.trim())
    .filter((range) => parseCidr(range)?.bytes.length === (family === 4 ? 4 : 16));
  const at = (address: string): RuleFrontend => ({
    kind: 'address',
    address,
    port: port.port,
    origin: 'any',
    masquerade,
  });
  // `Proxy`: the load balancer does something that a short cut would leave out (KEP-1860).
  const ingress = service.loadBalancerIngress.filter((entry) => entry.ipMode === 'VIP').map((entry) => entry.ip);
  const list: RuleFrontend[] = ofFamily(service.externalIPs, family).map(at);
  if (service.type === 'LoadBalancer') {
    for (const address of ofFamily(ingress, family)) {
      if (list.some((frontend) => frontend.kind === 'address' && frontend.address === address)) continue;
      list.push(sourceRanges.length > 0 ? ({ ...at(address), sourceRanges } as RuleFrontend) : at(address));
    }
  }
  const hasFamily = service.clusterIPs.some((address) => ipVersion(address) === family);
  if ((service.type === 'NodePort' || service.type === 'LoadBalancer') && port.nodePort !== undefined && hasFamily) {
    list.push({ kind: 'nodePort', port: port.nodePort, origin: 'any', masquerade });
  }
  return list;
}

/** Addresses of one family in canonical form, each once: the kernel compares what it lists with what was written. */
function ofFamily(addresses: readonly string[], family: 4 | 6): string[] {
  return [
    ...new Set(addresses.filter((address) => ipVersion(address) === family).map((ip) => canonicalIp(ip) as string)),
  ];
}
