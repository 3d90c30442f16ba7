import type { AgentConfig } from '@edgemesh/config';
import { type Catalog, type CatalogView, serviceId } from '@edgemesh/core';
import { createDnsServer, type DnsServer } from '@edgemesh/dns';
import type { AgentContext, AgentModule } from '../context.ts';
import type { VirtualServices } from '../virtual/virtual-services.ts';

const RESOLV_CONF = '/etc/resolv.conf';
/** The Service behind which a cluster's own DNS is found (cacheDNS.autoDetect). */
const CLUSTER_DNS = serviceId('kube-system', 'kube-dns');

/** Names of Services on the node's own address. */
export const dnsModule: AgentModule = {
  name: 'dns',
  section: 'edgeDNS',
  isWanted: ({ modules }) => modules.edgeDNS.enable,
  async start(room, run) {
    const context = room.context();
    const { commonConfig, modules } = context.config;
    const fallback = room.kernelMode ? commonConfig.bridgeDeviceIP : '127.0.0.1';
    const { listenAddress } = modules.edgeDNS;
    const dns = await startDns(context, listenAddress.length > 0 ? listenAddress : [fallback], room.services);
    room.parts.dns = dns;
    const ends = [
      onClusterDnsMoved(context, () => room.restart('dns', 'the cluster DNS moved')),
      room.services.onMoved((services) => dns.invalidate(services)),
    ];
    run.signal.addEventListener('abort', () => {
      for (const end of ends) end();
    });
    room.describe('dns', () => dns.status());
    return dns;
  },
};

/** Starts the DNS server on these addresses. */
function startDns(
  context: AgentContext,
  addresses: readonly string[],
  virtual: Pick<VirtualServices, 'addressOf'>,
): Promise<DnsServer> {
  const { commonConfig, modules } = context.config;
  const dns = modules.edgeDNS;
  const { cacheDNS } = dns;
  const cached = cacheDNS.enable ? clusterDnsServers(cacheDNS, context.view.current) : [];
  const upstreams = cached.length > 0 ? cached : dns.upstreamServers;
  return createDnsServer(
    {
      listen: addresses.map((address) => ({ address, port: dns.listenPort })),
      clusterDomain: commonConfig.clusterDomain,
      clusterZone: cached.length > 0 ? 'forward' : 'answer',
      ...(upstreams.length > 0 ? { upstreams } : { resolvConf: RESOLV_CONF }),
      stubDomains: dns.stubDomains,
      cache: cacheDNS.enable ? { maxTtlSeconds: cacheDNS.cacheTTL } : {},
    },
    { view: context.view, log: context.log, metrics: context.metrics, addressOf: virtual.addressOf },
  );
}

/** Servers that cacheDNS stands in front of: the configured ones, then what the cluster calls its DNS. */
function clusterDnsServers(cacheDNS: AgentConfig['modules']['edgeDNS']['cacheDNS'], catalog: Catalog): string[] {
  const detected = cacheDNS.autoDetect ? (catalog.services.get(CLUSTER_DNS)?.clusterIPs ?? []) : [];
  return [...cacheDNS.upstreamServers, ...detected];
}

/** Calls back when the cluster's DNS moves, which only cacheDNS cares for. */
function onClusterDnsMoved(context: AgentContext, moved: () => void): () => void {
  const { enable, autoDetect } = context.config.modules.edgeDNS.cacheDNS;
  if (!enable || !autoDetect) return () => undefined;
  const addressOf = (view: CatalogView) => view.current.services.get(CLUSTER_DNS)?.clusterIPs.join() ?? '';
  let last = addressOf(context.view);
  return context.view.subscribe((_, change) => {
    if (!change.services.has(CLUSTER_DNS)) return;
    const now = addressOf(context.view);
    if (now !== last) moved();
    last = now;
  });
}
