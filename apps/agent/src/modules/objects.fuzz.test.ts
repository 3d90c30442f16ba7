import { noMetrics, silentLogger } from '@edgemesh/core';
import { createDiscovery, type SourceSink } from '@edgemesh/discovery';
import { createKernelRules, createRecordingRunner } from '@edgemesh/linux';
import { createCheckedCatalog, createRulePlanner, createSocksResolver, healthCheckOf } from '@edgemesh/proxy-l4';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createInboundPolicy } from '../inbound-policy.ts';
import { createAddressPool } from '../virtual/address-pool.ts';
import { createVirtualServices } from '../virtual/virtual-services.ts';
import { createBalancing } from './balancing.ts';
import { wantedChecks } from './health-checks.ts';
import { addressTarget } from './socks5.ts';

const word = fc.constantFrom('web', 'db', 'a', 'b', 'http', '__proto__', 'constructor');
const address = fc.constantFrom('10.96.0.1', '10.0.0.1', '172.17.0.2', 'fd00::1', 'None', '', '::ffff:10.0.0.1', 'x');
const junk = fc.oneof(fc.anything(), address, word);
/** What is expected, and now and then anything at all, or nothing. */
const mostly = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 18, arbitrary }, { weight: 1, arbitrary: junk }, { weight: 1, arbitrary: fc.constant(undefined) });
const record = (fields: Readonly<Record<string, fc.Arbitrary<unknown>>>) =>
  fc.record(Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, mostly(value)])));
const several = <T>(arbitrary: fc.Arbitrary<T>) => fc.array(mostly(arbitrary), { minLength: 1, maxLength: 3 });

const portNumber = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(53, 80, 443, 8080) },
  { weight: 1, arbitrary: fc.constantFrom(0, 65_536, -1, 1.5) },
);
const ipv4 = fc.constantFrom('10.0.0.1', '172.17.0.2', '172.17.0.3');
const port = record({
  name: word,
  port: portNumber,
  targetPort: fc.oneof(portNumber, word),
  nodePort: portNumber,
  protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
  appProtocol: fc.constantFrom('http', 'kubernetes.io/h2c', 'grpc'),
});
const annotations = fc.dictionary(
  fc.constantFrom(
    'apps.kubeedge.io/service-topology',
    'edgemesh.kubeedge.io/health-check',
    'edgemesh.kubeedge.io/health-check-port',
    'edgemesh.kubeedge.io/virtual-addresses',
  ),
  fc.constantFrom('range-nodegroup', 'tcp', 'http', 'disabled', '80', ''),
);
const metadata = fc.record({
  name: fc.constantFrom('web', 'db'),
  namespace: fc.constant('default'),
  labels: mostly(fc.constant({ 'kubernetes.io/service-name': 'web', 'apps.kubeedge.io/belonging-to': 'a' })),
  annotations: mostly(annotations),
});
const policy = fc.constantFrom('Local', 'Cluster');
const service = record({
  type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
  clusterIP: address,
  clusterIPs: several(address),
  externalIPs: several(address),
  externalName: word,
  ports: several(port),
  loadBalancerSourceRanges: several(fc.constantFrom('10.0.0.0/8', '0.0.0.0/0', 'fd00::/8', '10.0.0.1')),
  healthCheckNodePort: portNumber,
  internalTrafficPolicy: policy,
  externalTrafficPolicy: policy,
  publishNotReadyAddresses: fc.boolean(),
  trafficDistribution: fc.constantFrom('PreferClose', 'PreferSameZone', 'PreferSameNode'),
  sessionAffinity: fc.constantFrom('ClientIP', 'None'),
  sessionAffinityConfig: record({ clientIP: record({ timeoutSeconds: portNumber }) }),
  selector: fc.constant({ app: 'web' }),
});
const endpoint = record({
  addresses: several(ipv4),
  nodeName: fc.constantFrom('me', 'far'),
  hostname: word,
  zone: word,
  hints: record({ forZones: several(record({ name: word })) }),
  conditions: record({ ready: fc.boolean(), serving: fc.boolean(), terminating: fc.boolean() }),
  targetRef: record({ kind: fc.constant('Pod'), name: word }),
});
const hash = record({ httpHeaderName: word, httpCookie: record({ name: word, ttl: word }), useSourceIp: fc.boolean() });
const traffic = record({
  loadBalancer: record({ simple: fc.constantFrom('RANDOM', 'LEAST_CONN', 'PASSTHROUGH', 'X'), consistentHash: hash }),
  outlierDetection: record({ consecutive5xxErrors: portNumber, baseEjectionTime: fc.constantFrom('1s', 'x') }),
});
const destinationRule = record({
  host: fc.constantFrom('web', 'web.default.svc.cluster.local', '*'),
  trafficPolicy: fc.oneof(traffic, record({ portLevelSettings: several(traffic) })),
  subsets: several(record({ name: word, labels: fc.constant({ v: '1' }), trafficPolicy: traffic })),
});
const node = record({ podCIDR: fc.constant('10.0.0.0/24'), podCIDRs: several(fc.constant('10.0.0.0/24')) });
const object = (apiVersion: string, kind: string, fields: Readonly<Record<string, fc.Arbitrary<unknown>>>) =>
  fc.tuple(metadata, record(fields)).map(([of, value]) => ({ ...value, apiVersion, kind, metadata: of }));
const objects = fc.array(
  fc.oneof(
    object('v1', 'Service', {
      spec: service,
      status: record({ loadBalancer: record({ ingress: several(record({ ip: address })) }) }),
    }),
    object('discovery.k8s.io/v1', 'EndpointSlice', {
      addressType: fc.constantFrom('IPv4', 'IPv4', 'IPv6', 'FQDN'),
      ports: several(port),
      endpoints: several(endpoint),
    }),
    object('v1', 'Endpoints', {
      subsets: several(record({ addresses: several(record({ ip: address, nodeName: word })), ports: several(port) })),
    }),
    object('networking.istio.io/v1', 'DestinationRule', { spec: destinationRule }),
    object('v1', 'Node', { spec: node, status: record({ addresses: several(record({ type: word, address })) }) }),
  ),
  { maxLength: 8 },
);

/** The catalog that an agent has of these objects. */
async function catalogOf(list: readonly unknown[]) {
  let sink: SourceSink | undefined;
  const source = {
    name: 'test',
    async run(given: SourceSink, signal: AbortSignal) {
      sink = given;
      for (const each of list) sink.upsert(each);
      sink.synced();
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    },
  };
  return createDiscovery({ sources: [source], publishWindowMs: 0, log: silentLogger, metrics: noMetrics });
}

describe('whatever objects the cluster has', () => {
  it('there are policies, endpoints, virtual addresses and kernel rules, and nothing throws', async () => {
    let seen = 0;
    const property = fc.asyncProperty(objects, async (given) => {
      await using discovery = await catalogOf(given);
      using checked = createCheckedCatalog(discovery);
      const pool = createAddressPool({
        range: { bytes: new Uint8Array([240, 96, 0, 0]), prefix: 24 },
        maxUsed: 16,
        maxKept: 16,
        initial: [],
      });
      const isRoutable = ({ nodeName }: { readonly nodeName?: string }) => nodeName !== 'far';
      using view = createVirtualServices({
        view: checked,
        pool,
        include: () => true,
        needsTunnel: (e) => !isRoutable(e),
      });
      const balancing = createBalancing({
        view,
        nodeName: 'me',
        clusterDomain: 'cluster.local',
        readsRequests: () => true,
      });
      const { current } = view;
      for (const list of current.endpoints.values()) seen += list.length;
      for (const each of current.services.values()) {
        healthCheckOf(each, { ...CHECK, kind: 'tcp' });
        const endpoints = current.endpoints.get(each.id) ?? [];
        checked.leaveOut(each.id, new Set());
        for (const servicePort of each.ports) {
          balancing.kernelPick(each, servicePort);
          balancing.sessionCookie(each, servicePort);
          const candidates = balancing.eligible(each, endpoints, servicePort);
          const picked = balancing.createBalancer(each, servicePort).pick(candidates, { sourceIp: '10.0.0.9' });
          expect(picked === undefined).toBe(candidates.length === 0);
        }
      }
      balancing.conditions();
      wantedChecks(current.services.values(), () => true);
      await rulesOf(view, balancing, isRoutable);
      expectNames(view);
    });
    await fc.assert(property, { numRuns: 300 });
    expect(seen).toBeGreaterThan(100);
  });
});

const CHECK = {
  path: '/',
  intervalMs: 1_000,
  timeoutMs: 1_000,
  healthyThreshold: 1,
  unhealthyThreshold: 1,
  maxEjectionPercent: 100,
} as const;

type View = ReturnType<typeof createVirtualServices>;

/** Every rule of the plan can be written, or says why not; what is written is text that nft reads as meant. */
async function rulesOf(
  view: View,
  balancing: ReturnType<typeof createBalancing>,
  isRoutable: (e: { nodeName?: string }) => boolean,
) {
  const planner = createRulePlanner({
    nodeName: 'me',
    bridgeIP: '169.254.96.16',
    listenPortOf: () => 30_000,
    isRoutable,
    eligible: balancing.eligibleAll,
    filter: () => true,
    pickOf: balancing.kernelPick,
    exclusions: [],
  });
  const runner = createRecordingRunner();
  await using kernel = createKernelRules({ runner });
  await kernel.apply(planner.plan(view.current));
  for (const { input } of runner.calls as readonly { readonly input?: string }[]) {
    expect(input ?? '').not.toMatch(/undefined|NaN|\[object|__proto__/);
  }
}

/** Names and addresses lead somewhere, or nowhere. */
function expectNames(view: View): void {
  const resolve = createSocksResolver({ catalog: view, serviceUpstream: () => undefined });
  for (const host of ['web.default', 'a.web.default.svc', '', '.', 'me', '__proto__', 'x'.repeat(300)])
    resolve({ host, isName: true, port: 80 });
  resolve({ host: '10.96.0.1', isName: false, port: 80 });
  addressTarget(view.current, { nodeName: 'me', sshPort: 22 }, '10.0.0.1', 80);
  const local = {
    dial: () => Promise.reject(new Error('not dialled')) as never,
    openDatagrams: () => undefined as never,
  };
  createInboundPolicy({ view, nodeName: 'me', local, metrics: noMetrics })[Symbol.dispose]();
}
