// What kube-proxy writes on a node for TCP Services: its chains, hooks and priorities, so that whoever works beside it meets the real thing.

/** A Service as kube-proxy knows it. */
export interface ProxiedService {
  /** Of letters and digits. */
  readonly name: string;
  readonly clusterIP: string;
  readonly port: number;
  readonly targetPort: number;
  readonly endpoints: readonly string[];
}

/** Commands of its iptables mode. */
export function kubeProxyIptables(services: readonly ProxiedService[]): string {
  const base = [
    'iptables -t nat -N KUBE-SERVICES',
    'iptables -t nat -N KUBE-MARK-MASQ',
    'iptables -t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000',
    'iptables -t nat -I PREROUTING 1 -j KUBE-SERVICES',
    'iptables -t nat -I OUTPUT 1 -j KUBE-SERVICES',
  ];
  const rules = services.flatMap(({ name, clusterIP, port, targetPort, endpoints }) => [
    `iptables -t nat -N KUBE-SVC-${name}`,
    `iptables -t nat -A KUBE-SERVICES -d ${clusterIP}/32 -p tcp -m tcp --dport ${port} -j KUBE-SVC-${name}`,
    ...endpoints.flatMap((endpoint, i) => {
      const rest = endpoints.length - i;
      const random = rest > 1 ? `-m statistic --mode random --probability ${1 / rest}` : '';
      return [
        `iptables -t nat -N KUBE-SEP-${name}${i}`,
        `iptables -t nat -A KUBE-SEP-${name}${i} -p tcp -m tcp -j DNAT --to-destination ${endpoint}:${targetPort}`,
        `iptables -t nat -A KUBE-SVC-${name} ${random} -j KUBE-SEP-${name}${i}`,
      ];
    }),
  ]);
  return [...base, ...rules].join('\n');
}

/** Takes the rules of iptables mode away again, as kube-proxy does when it starts in another mode. */
export const NO_KUBE_PROXY_IPTABLES = [
  'iptables -t nat -D PREROUTING -j KUBE-SERVICES',
  'iptables -t nat -D OUTPUT -j KUBE-SERVICES',
].join('\n');

/** The table of its nftables mode: verdict maps by address, protocol and port; a ClusterIP's other ports are rejected. */
export function kubeProxyNftables(services: readonly ProxiedService[]): string {
  const chains = services.flatMap(({ name, targetPort, endpoints }) => [
    ...endpoints.map(
      (endpoint, i) => `chain endpoint-${name}-${i} {
    ip saddr ${endpoint} jump mark-for-masquerade
    meta l4proto tcp dnat to ${endpoint}:${targetPort}
  }`,
    ),
    `chain service-${name} {
    numgen random mod ${endpoints.length} vmap { ${endpoints.map((_, i) => `${i} : goto endpoint-${name}-${i}`).join(', ')} }
  }`,
  ]);
  const ips = services.map(({ clusterIP, port, name }) => `${clusterIP} . tcp . ${port} : goto service-${name}`);
  return `table ip kube-proxy {
  set cluster-ips { type ipv4_addr; elements = { ${services.map(({ clusterIP }) => clusterIP).join(', ')} }; }
  map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-nodeports { type inet_proto . inet_service : verdict; }
  chain mark-for-masquerade { meta mark set meta mark | 0x4000; }
  chain masquerading {
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }
  chain cluster-ips-check { ip daddr @cluster-ips reject; }
  chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
  chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
  ${chains.join('\n  ')}
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { ${ips.join(', ')} }; }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
  }
  chain filter-prerouting-pre-dnat { type filter hook prerouting priority -110; ct state new jump firewall-check; }
  chain filter-output-pre-dnat { type filter hook output priority -110; ct state new jump firewall-check; }
  chain filter-input { type filter hook input priority 0; ct state new jump service-endpoints-check; }
  chain filter-forward {
    type filter hook forward priority 0
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority 0
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
}
`;
}
