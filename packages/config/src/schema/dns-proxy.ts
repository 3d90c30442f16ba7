import { choice, commaList, decimal, flag, integer, list, port, record, section, text } from '../fields.ts';
import {
  cidr,
  controlGroup,
  dnsServer,
  domainName,
  interfaceName,
  ipAddress,
  ipRange,
  requestPath,
} from '../formats.ts';

const OWN = 'is set by EdgeMesh itself and has no effect here';

export const dnsSection = section(
  'Answers names of Services on the node.',
  {
    enable: flag(false, 'Run the DNS server.', { apply: 'process' }),
    listenPort: port(53, 'Port of the DNS server, UDP and TCP.'),
    listenAddress: list(ipAddress, 'Addresses to listen on. Empty: bridgeDeviceIP.'),
    upstreamServers: list(dnsServer, "Servers for every other name. Empty: the node's resolv.conf."),
    stubDomains: record(
      domainName,
      dnsServer,
      'Domains with name servers of their own: { example.org: [192.0.2.53] }.',
    ),
    cacheDNS: section('Node-local cache in front of the cluster DNS.', {
      enable: flag(false, 'Cache answers of the cluster DNS.'),
      autoDetect: flag(true, 'Find the cluster DNS by its Service (kube-dns in kube-system).'),
      upstreamServers: list(dnsServer, 'Addresses of the cluster DNS, besides what is detected.'),
      cacheTTL: integer(30, [0, 86_400], 'Longest time an answer is kept.', { unit: 's' }),
    }),
  },
  { listenInterface: OWN, kubeAPIConfig: OWN },
);

const NO_RING = { unused: 'keys are spread by rendezvous hashing, more evenly than by any ring' };
const consistentHash = section('Accepted without effect: hashing (rendezvous) has no ring to tune.', {
  partitionCount: integer(100, [1, 100_000], 'Partitions of the ring.', NO_RING),
  replicationFactor: integer(10, [1, 10_000], 'Places of each endpoint on the ring.', NO_RING),
  load: decimal(1.25, [1, 100], 'Most load of one endpoint, as a multiple of the average.', NO_RING),
});

export const loadBalancerSection = section(
  'How endpoints are chosen.',
  { consistentHash },
  { caller: OWN, nodeName: OWN },
);

export const proxySection = section(
  'Carries traffic of Services.',
  {
    enable: flag(false, 'Run the Service proxy.', { apply: 'process' }),
    serviceFilterMode: choice(
      'FilterIfLabelExists',
      ['FilterIfLabelExists', 'FilterIfLabelDoesNotExists'],
      'Which Services are left alone: those with the label service-proxy-name, or those without it.',
      { apply: 'process' },
    ),
    listeners: choice(
      'auto',
      ['auto', 'kernel', 'loopback'],
      'How traffic gets in: kernel rules (nftables, root), listeners on loopback, or the best that works.',
      { apply: 'process' },
    ),
    directRouting: choice(
      'auto',
      ['auto', 'off'],
      'Leave endpoints of other nodes to the kernel where it has a route to them by way of that node; off: the tunnel.',
      { apply: 'process' },
    ),
    socketLB: choice(
      'auto',
      ['auto', 'off'],
      'Connect processes of this node to endpoints at connect(2), by eBPF, where the kernel can; off: translate packets. Set off where sidecars must see Service addresses.',
      { apply: 'process' },
    ),
    podGroup: text(
      '',
      controlGroup,
      'Control group (v2) of the pods, relative to the root of the hierarchy, for socketLB. Empty: kubepods.slice or kubepods.',
      { apply: 'process' },
    ),
    onlyWhereNeeded: flag(
      false,
      'Leave Services whose endpoints the kernel reaches all by itself to kube-proxy, which must run here.',
    ),
    staleAfter: integer(
      0,
      [0, 86_400],
      'Rules of an agent that is dead end after this time, so that kube-proxy takes over. 0: they keep serving what they can.',
      { unit: 's', apply: 'process' },
    ),
    locality: choice(
      'asked',
      ['asked', 'always', 'never'],
      'Prefer near endpoints: for Services with a trafficDistribution, for all, or for none.',
    ),
    udpIdleTimeout: integer(60, [1, 86_400], 'A UDP flow through the tunnel ends after this time of silence.', {
      unit: 's',
    }),
    virtualAddresses: section('Addresses of this node for endpoints of headless Services behind the tunnel.', {
      enable: flag(true, 'Give them out by DNS, so that headless Services and StatefulSets work across networks.', {
        apply: 'process',
      }),
      cidr: text('240.96.0.0/16', cidr, 'Range that they are taken from. It must not be in use anywhere near.', {
        apply: 'process',
      }),
    }),
    healthChecks: section('Active checks of endpoints. Annotations of a Service override every value but the limits.', {
      enable: flag(true, 'Check endpoints of Services that ask for it, or of all.', { apply: 'process' }),
      kind: choice(
        'none',
        ['none', 'tcp', 'http'],
        'Check of Services without the annotation edgemesh.kubeedge.io/health-check: none, a TCP connection, or an HTTP request.',
      ),
      path: text('/', requestPath, 'Path that HTTP checks ask for; a status of 200 to 399 is good.'),
      interval: integer(10, [1, 3_600], 'Time between two checks of an endpoint, a tenth more or less.', { unit: 's' }),
      timeout: integer(3, [1, 3_600], 'A check without answer has failed after this time.', { unit: 's' }),
      healthyThreshold: integer(2, [1, 100], 'Good checks in a row after which an endpoint is used again.'),
      unhealthyThreshold: integer(3, [1, 100], 'Failed checks in a row after which an endpoint is left out.'),
      maxEjectionPercent: integer(
        100,
        [1, 100],
        'Share of the endpoints of a port that may be left out. One always may; when all fail, all stay.',
        { unit: '%' },
      ),
      maxConcurrent: integer(32, [1, 1_024], 'Checks under way at once.'),
      maxEndpoints: integer(4_096, [1, 65_536], 'Endpoints checked; further ones stay as the cluster says.'),
    }),
    socks5Proxy: section(
      'SOCKS5 proxy that reaches other nodes by name, for ssh.',
      {
        enable: flag(false, 'Run the SOCKS5 proxy.', { apply: 'process' }),
        listenPort: port(10_800, 'Port of the SOCKS5 proxy.'),
        sshPort: integer(
          22,
          [1, 65_535],
          'Port of nodes that is reached by node name; where the proxy runs, peers may reach this one of ours.',
        ),
      },
      { nodeName: OWN, namespace: OWN },
    ),
    loadBalancer: loadBalancerSection,
  },
  {
    listenInterface: OWN,
    listenPort: 'has had no effect since EdgeMesh 1.12; remove it',
    subNet: 'has had no effect since EdgeMesh 1.12; remove it',
  },
);

export const gatewaySection = section('Lets traffic from outside in, by Gateway and route objects.', {
  enable: flag(false, 'Run the gateway.', { apply: 'process' }),
  nic: commaList(interfaceName, 'Interfaces to listen on, with commas. "*": all but lo and our own.'),
  includeIP: commaList(ipRange, 'Addresses and ranges to listen on, with commas. "*": all.'),
  excludeIP: commaList(ipRange, 'Addresses and ranges not to listen on, with commas. "*": none is excluded.'),
  loadBalancer: section(
    'How endpoints are chosen.',
    {
      simple: choice(
        'ROUND_ROBIN',
        ['ROUND_ROBIN', 'RANDOM', 'LEAST_REQUEST'],
        'Policy of Services without a DestinationRule that names one.',
      ),
      consistentHash,
    },
    { caller: OWN, nodeName: OWN },
  ),
});
