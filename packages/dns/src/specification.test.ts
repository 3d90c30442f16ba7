import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endpoint, fakeView, service } from '../test/catalog.ts';
import { type AskOptions, ask } from '../test/client.ts';
import { createFakeUpstream, type FakeUpstream } from '../test/fake-upstream.ts';
import { createDnsServer, type DnsServer } from './index.ts';

/** Kubernetes DNS-Based Service Discovery 1.1.0, section by section, over real sockets. */
const ports = [
  { name: 'http', protocol: 'TCP', port: 80 },
  { name: 'dns', protocol: 'UDP', port: 53 },
] as const;
const content = {
  services: [
    service('default', 'kubernetes', {
      clusterIPs: ['10.3.0.1'],
      ports: [{ name: 'https', protocol: 'TCP', port: 443 }],
    }),
    service('default', 'dual', { clusterIPs: ['10.3.0.2', 'fd00:10:3::2'], ports }),
    service('default', 'six', { clusterIPs: ['fd00:10:3::6'] }),
    service('default', 'unnamed', { clusterIPs: ['10.3.0.3'], ports: [{ name: '', protocol: 'TCP', port: 9000 }] }),
    service('default', 'pets', { headless: true }),
    service('default', 'empty', { headless: true }),
    service('default', 'early', { headless: true, publishNotReadyAddresses: true }),
    service('default', 'legacy', {
      headless: true,
      annotations: { 'service.alpha.kubernetes.io/tolerate-unready-endpoints': 'true' },
    }),
    service('default', 'samehost', { headless: true }),
    service('default', 'twins', { headless: true }),
    service('default', 'web', { clusterIPs: ['10.3.0.9'] }),
    service('default', 'outside', { type: 'ExternalName', externalName: 'www.example.test' }),
    service('default', 'inside', { type: 'ExternalName', externalName: 'kubernetes.default.svc.cluster.local' }),
    service('default', 'circle', { type: 'ExternalName', externalName: 'circle2.default.svc.cluster.local' }),
    service('default', 'circle2', { type: 'ExternalName', externalName: 'circle.default.svc.cluster.local' }),
    service('default', 'numeric', { type: 'ExternalName', externalName: '192.0.2.7' }),
    service('default', 'dangling', { type: 'ExternalName', externalName: 'missing.default.svc.cluster.local' }),
  ],
  endpoints: {
    'default/pets': [
      endpoint('10.244.0.100', { hostname: 'my-pet' }),
      endpoint('10.244.0.100', { hostname: 'my-pet', portName: 'metrics', port: 9100 }),
      endpoint('10.244.0.101'),
      endpoint('fd00:244::7', { hostname: 'sixth' }),
      endpoint('10.244.0.102', { hostname: 'sick', ready: false }),
    ],
    'default/empty': [endpoint('10.244.1.1', { ready: false })],
    'default/early': [endpoint('10.244.1.2', { ready: false, hostname: 'early-0' })],
    'default/legacy': [endpoint('10.244.1.3', { ready: false })],
    'default/samehost': [endpoint('10.244.2.1', { hostname: 'one' }), endpoint('10.244.2.2', { hostname: 'one' })],
    'default/twins': [
      endpoint('172.17.0.2', { nodeName: 'edge-a', targetRef: pod('twin-a') }),
      endpoint('172.17.0.2', { nodeName: 'edge-b' }),
    ],
    'default/web': [endpoint('10.244.3.1')],
  },
  nodes: [{ name: 'edge-a', labels: {}, internalIPs: [], podCIDRs: ['10.244.0.0/16', 'fd00:244::/64'] }],
} as const;

function pod(name: string) {
  return { kind: 'Pod', namespace: 'default', name, uid: name };
}

let server: DnsServer;
let upstream: FakeUpstream;
beforeAll(async () => {
  upstream = await createFakeUpstream();
  server = await createDnsServer(
    {
      listen: [{ address: '127.0.0.1', port: 0 }],
      clusterDomain: ['cluster.local', 'edge.example'],
      upstreams: [`127.0.0.1:${upstream.port}`],
    },
    { view: fakeView(content) },
  );
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

type Row = readonly [section: string, question: string, answers: readonly string[] | string, options?: AskOptions];
const C = 'svc.cluster.local';
const SRV = (port: number, target: string, weight: number) =>
  `SRV ${JSON.stringify({ priority: 0, weight, port, target })}`;

const rows: readonly Row[] = [
  ['2.2 schema version', 'dns-version.cluster.local TXT', ['dns-version.cluster.local 5 TXT 1.1.0']],
  ['2.3.1 A', `kubernetes.default.${C} A`, [`kubernetes.default.${C} 5 A 10.3.0.1`]],
  ['2.3.1 A over TCP', `kubernetes.default.${C} A`, [`kubernetes.default.${C} 5 A 10.3.0.1`], { tcp: true }],
  ['2.3.1 case is ignored and kept', `KuberNetes.DEFAULT.${C} A`, [`KuberNetes.DEFAULT.${C} 5 A 10.3.0.1`]],
  ['2.3.1 A dual stack', `dual.default.${C} A`, [`dual.default.${C} 5 A 10.3.0.2`]],
  ['2.3.1 AAAA dual stack', `dual.default.${C} AAAA`, [`dual.default.${C} 5 AAAA fd00:10:3::2`]],
  ['2.3.1 A of an IPv6 Service', `six.default.${C} A`, 'NODATA'],
  ['2.3.1 AAAA of an IPv4 Service', `kubernetes.default.${C} AAAA`, 'NODATA'],
  ['2.3.1 unknown Service', `nobody.default.${C} A`, 'NXDOMAIN'],
  ['2.3.1 unknown namespace', `kubernetes.nowhere.${C} A`, 'NXDOMAIN'],
  [
    '2.3.1 another domain',
    'kubernetes.default.svc.edge.example A',
    ['kubernetes.default.svc.edge.example 5 A 10.3.0.1'],
  ],
  [
    '2.3.2 SRV',
    `_https._tcp.kubernetes.default.${C} SRV`,
    [`_https._tcp.kubernetes.default.${C} 5 ${SRV(443, `kubernetes.default.${C}`, 100)}`],
  ],
  [
    '2.3.2 SRV UDP',
    `_dns._udp.dual.default.${C} SRV`,
    [`_dns._udp.dual.default.${C} 5 ${SRV(53, `dual.default.${C}`, 100)}`],
  ],
  ['2.3.2 SRV wrong protocol', `_dns._tcp.dual.default.${C} SRV`, 'NXDOMAIN'],
  ['2.3.2 SRV unknown port', `_nope._tcp.dual.default.${C} SRV`, 'NXDOMAIN'],
  ['2.3.2 unnamed ports have none', `_._tcp.unnamed.default.${C} SRV`, 'NXDOMAIN'],
  ['2.3.2 protocol is a non-terminal', `_tcp.dual.default.${C} SRV`, 'NODATA'],
  ['2.3.2 no non-terminal without named ports', `_tcp.unnamed.default.${C} SRV`, 'NXDOMAIN'],
  ['2.3.2 port name has no address', `_https._tcp.kubernetes.default.${C} A`, 'NODATA'],
  ['2.3.3 PTR', '1.0.3.10.in-addr.arpa PTR', [`1.0.3.10.in-addr.arpa 5 PTR kubernetes.default.${C}`]],
  [
    '2.3.3 PTR IPv6',
    '2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa PTR',
    [`2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa 5 PTR dual.default.${C}`],
  ],
  ['2.3.3 other type at a reverse name', '1.0.3.10.in-addr.arpa A', 'NODATA'],
  [
    '2.4.1 A of each ready endpoint',
    `pets.default.${C} A`,
    [`pets.default.${C} 5 A 10.244.0.100`, `pets.default.${C} 5 A 10.244.0.101`],
  ],
  ['2.4.1 AAAA', `pets.default.${C} AAAA`, [`pets.default.${C} 5 AAAA fd00:244::7`]],
  ['2.4.1 none ready', `empty.default.${C} A`, 'NXDOMAIN'],
  ['2.4.1 publishNotReadyAddresses', `early.default.${C} A`, [`early.default.${C} 5 A 10.244.1.2`]],
  ['2.4.1 tolerate-unready annotation', `legacy.default.${C} A`, [`legacy.default.${C} 5 A 10.244.1.3`]],
  ['2.4.1 hostname', `my-pet.pets.default.${C} A`, [`my-pet.pets.default.${C} 5 A 10.244.0.100`]],
  [
    '2.4.1 hostname of several addresses',
    `one.samehost.default.${C} A`,
    [`one.samehost.default.${C} 5 A 10.244.2.1`, `one.samehost.default.${C} 5 A 10.244.2.2`],
  ],
  ['2.4.1 hostname AAAA', `sixth.pets.default.${C} AAAA`, [`sixth.pets.default.${C} 5 AAAA fd00:244::7`]],
  ['2.4.1 hostname without that family', `sixth.pets.default.${C} A`, 'NODATA'],
  ['2.4.1 assigned hostname', `10-244-0-101.pets.default.${C} A`, [`10-244-0-101.pets.default.${C} 5 A 10.244.0.101`]],
  ['2.4.1 hostname not ready', `sick.pets.default.${C} A`, 'NXDOMAIN'],
  ['2.4.1 same address on two nodes', `twin-a.twins.default.${C} A`, [`twin-a.twins.default.${C} 5 A 172.17.0.2`]],
  [
    '2.4.1 endpoint of a ClusterIP Service',
    `10-244-3-1.web.default.${C} A`,
    [`10-244-3-1.web.default.${C} 5 A 10.244.3.1`],
  ],
  [
    '2.4.2 SRV',
    `_http._tcp.pets.default.${C} SRV`,
    ['my-pet', '10-244-0-101', 'sixth'].map(
      (h) => `_http._tcp.pets.default.${C} 5 ${SRV(8080, `${h}.pets.default.${C}`, 33)}`,
    ),
  ],
  [
    '2.4.2 SRV of one port',
    `_metrics._tcp.pets.default.${C} SRV`,
    [`_metrics._tcp.pets.default.${C} 5 ${SRV(9100, `my-pet.pets.default.${C}`, 100)}`],
  ],
  ['2.4.2 SRV none ready', `_http._tcp.empty.default.${C} SRV`, 'NXDOMAIN'],
  ['2.4.3 PTR', '100.0.244.10.in-addr.arpa PTR', [`100.0.244.10.in-addr.arpa 5 PTR my-pet.pets.default.${C}`]],
  [
    '2.4.3 PTR of a ClusterIP Service endpoint',
    '1.3.244.10.in-addr.arpa PTR',
    [`1.3.244.10.in-addr.arpa 5 PTR 10-244-3-1.web.default.${C}`],
  ],
  ['2.4.3 unknown address in a podCIDR', '9.9.244.10.in-addr.arpa PTR', 'NXDOMAIN'],
  [
    '2.4.3 the same address on several nodes',
    '2.0.17.172.in-addr.arpa PTR',
    [
      `2.0.17.172.in-addr.arpa 5 PTR twin-a.twins.default.${C}`,
      `2.0.17.172.in-addr.arpa 5 PTR 172-17-0-2-edge-b.twins.default.${C}`,
    ],
  ],
  ['2.5 ExternalName', `outside.default.${C} CNAME`, [`outside.default.${C} 5 CNAME www.example.test`]],
  [
    '2.5 ExternalName is chased',
    `outside.default.${C} A`,
    [`outside.default.${C} 5 CNAME www.example.test`, 'www.example.test 60 A 192.0.2.1'],
  ],
  [
    '2.5 chased inside the cluster',
    `inside.default.${C} A`,
    [`inside.default.${C} 5 CNAME kubernetes.default.${C}`, `kubernetes.default.${C} 5 A 10.3.0.1`],
  ],
  ['2.5 an address is no name', `numeric.default.${C} A`, 'NODATA'],
  ['2.6 pod', `10-1-2-3.default.pod.cluster.local A`, ['10-1-2-3.default.pod.cluster.local 5 A 10.1.2.3']],
  ['2.6 pod IPv6', `fd00--1.default.pod.cluster.local AAAA`, ['fd00--1.default.pod.cluster.local 5 AAAA fd00::1']],
  ['2.6 pod of the other family', `10-1-2-3.default.pod.cluster.local AAAA`, 'NODATA'],
  ['2.6 not an address', `10-1-2-300.default.pod.cluster.local A`, 'NXDOMAIN'],
  ['apex A', 'cluster.local A', 'NODATA'],
  ['apex NS', 'cluster.local NS', ['cluster.local 5 NS ns.dns.cluster.local']],
  ['ns.dns', 'ns.dns.cluster.local A', ['ns.dns.cluster.local 5 A 127.0.0.1']],
  ['non-terminal svc', `${C} A`, 'NODATA'],
  ['non-terminal namespace', `default.${C} A`, 'NODATA'],
  ['non-terminal pod', 'pod.cluster.local A', 'NODATA'],
  ['non-terminal dns', 'dns.cluster.local A', 'NODATA'],
  ['no such name', 'x.cluster.local A', 'NXDOMAIN'],
  ['too deep', `a.b.c.kubernetes.default.${C} A`, 'NXDOMAIN'],
  ['a search path leftover', `www.google.com.default.${C} A`, 'NXDOMAIN'],
  ['ANY (RFC 8482)', `kubernetes.default.${C} ANY`, [`kubernetes.default.${C} 5 HINFO {"cpu":"RFC8482","os":""}`]],
  ['ANY of no name', `nobody.default.${C} ANY`, 'NXDOMAIN'],
  ['localhost (RFC 6761)', 'localhost A', ['localhost 86400 A 127.0.0.1']],
  ['localhost reverse', '1.0.0.127.in-addr.arpa PTR', ['1.0.0.127.in-addr.arpa 86400 PTR localhost']],
  ['invalid (RFC 6761)', 'foo.invalid A', 'NXDOMAIN'],
];

describe('the cluster zone', () => {
  const table = rows.map(([section, question, expected, options = {}]) => ({ section, question, expected, options }));
  it.each(table)('$section: $question', async ({ question, expected, options }) => {
    const [name, type] = question.split(' ') as [string, string];
    const reply = await ask(server, name, type, { edns: 1232, ...options });
    expect(reply.aa).toBe(true);
    if (typeof expected !== 'string') {
      expect(reply.rcode).toBe('NOERROR');
      expect([...reply.answers].sort()).toEqual([...expected].sort());
      return;
    }
    expect(reply.rcode).toBe(expected === 'NODATA' ? 'NOERROR' : expected);
    expect(reply.answers).toEqual([]);
    // RFC 2308 3: a denial carries the SOA of the zone that denies.
    expect(reply.authorities).toHaveLength(1);
    expect(reply.authorities[0]).toContain(' SOA ');
  });

  it('gives the SOA at the apex', async () => {
    const reply = await ask(server, 'cluster.local', 'SOA');
    expect(reply.answers).toHaveLength(1);
    expect(reply.answers[0]).toMatch(/^cluster\.local 5 SOA .*"mname":"ns\.dns\.cluster\.local".*"minimum":5/);
  });

  it('adds the addresses of SRV targets', async () => {
    const reply = await ask(server, `_http._tcp.pets.default.${C}`, 'SRV', { edns: 1232 });
    expect(reply.additionals).toContain(`my-pet.pets.default.${C} 5 A 10.244.0.100`);
    expect(reply.additionals).toContain(`sixth.pets.default.${C} 5 AAAA fd00:244::7`);
  });

  it('gives every port by SRV at the name of the Service itself, as CoreDNS does', async () => {
    const reply = await ask(server, `dual.default.${C}`, 'SRV', { edns: 1232 });
    expect(reply.answers).toHaveLength(2);
  });

  it('ends a circle of ExternalNames with what it found', async () => {
    const reply = await ask(server, `circle.default.${C}`, 'A', { edns: 1232 });
    expect(reply.rcode).toBe('NOERROR');
    expect(reply.answers.every((text) => text.includes(' CNAME '))).toBe(true);
  });

  it('says NXDOMAIN with the alias when an ExternalName leads to nothing in the cluster', async () => {
    const reply = await ask(server, `dangling.default.${C}`, 'A', { edns: 1232 });
    expect(reply.rcode).toBe('NXDOMAIN');
    expect(reply.answers).toEqual([`dangling.default.${C} 5 CNAME missing.default.${C}`]);
  });

  it('forwards reverse names of addresses that are not the cluster’s', async () => {
    const before = upstream.asked.length;
    const reply = await ask(server, '8.8.8.8.in-addr.arpa', 'PTR');
    expect(reply.aa).toBe(false);
    expect(upstream.asked.slice(before).map((q) => q.name)).toEqual(['8.8.8.8.in-addr.arpa']);
  });

  it('rotates the addresses of a headless Service', async () => {
    const first = new Set<string>();
    for (let i = 0; i < 8; i++) first.add((await ask(server, `pets.default.${C}`, 'A')).answers[0] as string);
    expect(first.size).toBe(2);
  });
});
