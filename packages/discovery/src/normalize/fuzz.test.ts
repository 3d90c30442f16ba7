import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DiscoveryError } from '../errors.ts';
import { normaliseAny } from './any.ts';
import { sameJson } from './equal.ts';
import { normaliseObject } from './object.ts';
import { objectOf } from './object-of.ts';
import { compareResourceVersions } from './resource-version.ts';

const KINDS = [
  ['v1', 'Service'],
  ['v1', 'Endpoints'],
  ['v1', 'Node'],
  ['v1', 'Pod'],
  ['v1', 'Namespace'],
  ['discovery.k8s.io/v1', 'EndpointSlice'],
  ['networking.istio.io/v1', 'Gateway'],
] as const;

/** Values that look like what the fields hold, mixed with anything else. */
const junk = fc.oneof(
  { weight: 3, arbitrary: fc.anything({ withBigInt: true, withNullPrototype: true, withObjectString: true }) },
  { weight: 1, arbitrary: fc.constantFrom('10.0.0.1', 'fd00::1', 'None', '10.0.0.0/8', 80, 'TCP', '__proto__', '') },
);
const junkRecord = (keys: readonly string[]) =>
  fc.record(Object.fromEntries(keys.map((key) => [key, fc.oneof(junk, fc.array(junk, { maxLength: 3 }))])), {
    requiredKeys: [],
  });
const port = fc.oneof(junk, junkRecord(['name', 'port', 'protocol', 'targetPort', 'nodePort', 'appProtocol']));
const address = fc.oneof(
  junk,
  junkRecord(['addresses', 'ip', 'conditions', 'nodeName', 'hostname', 'hints', 'targetRef', 'zone']),
);
const spec = fc.oneof(
  junk,
  junkRecord([
    'type',
    'clusterIP',
    'clusterIPs',
    'externalName',
    'externalIPs',
    'loadBalancerSourceRanges',
    'selector',
  ]),
  fc.record({
    ports: fc.array(port, { maxLength: 4 }),
    podCIDRs: fc.array(junk),
    containers: fc.array(junk),
    initContainers: fc.array(fc.oneof(junk, fc.record({ restartPolicy: fc.constant('Always'), ports: junk }))),
  }),
);
const metadata = fc.oneof(
  junk,
  fc.record({
    name: fc.oneof(fc.constant('web'), junk),
    namespace: fc.oneof(fc.constant('shop'), junk),
    labels: fc.oneof(junk, fc.constant({ 'kubernetes.io/service-name': 'web' })),
    annotations: junk,
    resourceVersion: junk,
  }),
);
const object = fc.constantFrom(...KINDS).chain(([apiVersion, kind]) =>
  fc.record({
    apiVersion: fc.oneof({ weight: 9, arbitrary: fc.constant(apiVersion as unknown) }, junk),
    kind: fc.oneof({ weight: 9, arbitrary: fc.constant(kind as unknown) }, junk),
    metadata,
    spec,
    status: junk,
    addressType: fc.oneof(fc.constantFrom('IPv4', 'IPv6', 'FQDN'), junk),
    ports: fc.oneof(junk, fc.array(port, { maxLength: 4 })),
    endpoints: fc.oneof(junk, fc.array(address, { maxLength: 4 })),
    subsets: fc.oneof(junk, fc.array(junkRecord(['addresses', 'notReadyAddresses', 'ports']), { maxLength: 3 })),
  }),
);

const word = fc.constantFrom('a', 'b', 'c');
const likelyPort = fc.record(
  { name: word, port: fc.constantFrom(80, 81), protocol: fc.constantFrom('TCP', 'UDP'), appProtocol: word },
  { requiredKeys: ['port'] },
);
const ip = fc.constantFrom('10.0.0.1', '10.0.0.2', 'fd00::1');
const pod = fc.record(
  {
    addresses: fc.array(ip, { maxLength: 2 }),
    ip,
    conditions: fc.record(
      { ready: fc.boolean(), serving: fc.boolean(), terminating: fc.boolean() },
      { requiredKeys: [] },
    ),
    nodeName: word,
    hostname: word,
    zone: word,
    hints: fc.record({ forZones: fc.array(fc.record({ name: word })), forNodes: fc.array(fc.record({ name: word })) }),
    targetRef: fc.record(
      { kind: fc.constant('Pod'), name: word, namespace: word, uid: word },
      { requiredKeys: ['kind'] },
    ),
  },
  { requiredKeys: [] },
);
const pods = fc.array(pod, { maxLength: 4 });
const ports = fc.array(likelyPort, { maxLength: 3 });
/** Objects as sources bring them. */
const likely = fc.constantFrom(...KINDS).chain(([apiVersion, kind]) =>
  fc.record({
    apiVersion: fc.constant(apiVersion),
    kind: fc.constant(kind),
    metadata: fc.record(
      {
        name: word,
        namespace: word,
        uid: word,
        resourceVersion: fc.constantFrom('1', '2'),
        labels: fc.constant({ 'kubernetes.io/service-name': 'web', zone: 'z' }),
        annotations: fc.dictionary(word, word),
      },
      { requiredKeys: ['name'] },
    ),
    spec: fc.record(
      {
        type: fc.constantFrom('ClusterIP', 'LoadBalancer', 'NodePort', 'ExternalName'),
        clusterIP: fc.constantFrom('None', '', '10.96.0.1'),
        clusterIPs: fc.subarray(['10.96.0.1', 'fd00::96']),
        externalName: fc.constant('example.org'),
        externalIPs: fc.subarray(['1.2.3.4', 'fd00::4']),
        loadBalancerSourceRanges: fc.subarray(['10.0.0.0/8']),
        healthCheckNodePort: fc.constant(30_000),
        ports: fc.array(fc.record({ name: word, port: fc.constantFrom(1, 2), targetPort: fc.constantFrom(1, 'x') })),
        sessionAffinity: fc.constantFrom('None', 'ClientIP'),
        internalTrafficPolicy: fc.constantFrom('Local', 'Cluster'),
        trafficDistribution: word,
        publishNotReadyAddresses: fc.boolean(),
        selector: fc.dictionary(word, word),
        podCIDRs: fc.subarray(['10.244.0.0/24', 'fd00:244::/64']),
      },
      { requiredKeys: [] },
    ),
    status: fc.record({
      loadBalancer: fc.record({ ingress: fc.array(fc.record({ ip, ipMode: fc.constantFrom('VIP', 'Proxy') })) }),
      addresses: fc.array(fc.record({ type: fc.constantFrom('InternalIP', 'Hostname'), address: ip })),
    }),
    addressType: fc.constantFrom('IPv4', 'IPv6', 'FQDN'),
    ports,
    endpoints: pods,
    subsets: fc.array(fc.record({ addresses: pods, notReadyAddresses: pods, ports }), { maxLength: 3 }),
  }),
);

describe('normaliseAny', () => {
  it('never throws, whatever it is given, and explains every rejection with our error', () => {
    fc.assert(
      fc.property(fc.oneof(object, junk), (raw) => {
        const { value, problems } = normaliseAny(raw);
        if (value === undefined) expect(problems.length).toBeGreaterThan(0);
        for (const problem of problems) {
          expect(problem).toBeInstanceOf(DiscoveryError);
          expect(problem.object?.kind).toBeTypeOf('string');
        }
        for (const endpoint of value?.backends?.endpoints ?? []) {
          expect(endpoint.address).toBeTypeOf('string');
          expect(endpoint.port).toBeGreaterThanOrEqual(0);
          expect(endpoint.port).toBeLessThanOrEqual(65_535);
        }
      }),
      { numRuns: 1500 },
    );
  });

  it('gives the same result for the object that stands for it in a snapshot', () => {
    const asText = (_: string, part: unknown) => (typeof part === 'bigint' ? String(part) : part);
    const parsed = <T>(value: T): T => JSON.parse(JSON.stringify(value, asText) ?? 'null');
    fc.assert(
      fc.property(fc.oneof(object, likely), (raw) => {
        const first = normaliseAny(parsed(raw)).value;
        if (first === undefined) return;
        const again = normaliseAny(parsed(objectOf(first)));
        expect(again.problems).toEqual([]);
        expect(parsed(again.value)).toEqual(parsed(first));
      }),
      { numRuns: 2000 },
    );
  });

  it('takes managedFields, the last applied configuration and the bulk of Nodes off', () => {
    const raw = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: 'edge-1',
        managedFields: [{}],
        annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}', keep: 'me' },
        labels: { 'topology.kubernetes.io/zone': 'z1' },
      },
      spec: { podCIDR: '10.244.3.7/24', taints: [] },
      status: { images: [{}], addresses: [{ type: 'InternalIP', address: '192.168.1.5' }, { type: 'Hostname' }] },
    };
    expect(normaliseObject(raw).value).toEqual({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: 'edge-1',
        annotations: { keep: 'me' },
        labels: { 'topology.kubernetes.io/zone': 'z1' },
      },
      spec: { podCIDR: '10.244.3.7/24' },
      status: { addresses: [{ type: 'InternalIP', address: '192.168.1.5' }, { type: 'Hostname' }] },
    });
    expect(normaliseAny(raw).value?.node).toMatchObject({
      internalIPs: ['192.168.1.5'],
      podCIDRs: ['10.244.3.0/24'],
      zone: 'z1',
    });
  });

  it('refuses names that would break keys', () => {
    for (const name of ['a/b', '', 'a b', 'x'.repeat(254), 'a\u0000']) {
      expect(normaliseAny({ apiVersion: 'v1', kind: 'Secret', metadata: { name } }).value).toBeUndefined();
    }
  });
});

describe('sameJson', () => {
  it('agrees with the text of the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), fc.jsonValue({ maxDepth: 3 }), (a, b) => {
        expect(sameJson(a, JSON.parse(JSON.stringify(a)))).toBe(true);
        if (JSON.stringify(a) === JSON.stringify(b)) expect(sameJson(a, b)).toBe(true);
        else if (typeof a !== 'object' || typeof b !== 'object') expect(sameJson(a, b)).toBe(false);
      }),
    );
    expect(sameJson({ a: 1, b: [1, { c: 2 }] }, { b: [1, { c: 2 }], a: 1 })).toBe(true);
    expect(sameJson({ a: 1 }, { a: 1, b: 2 })).toBe(false);
    expect(sameJson([1, 2], [2, 1])).toBe(false);
  });

  it('does not run out of stack on deep nesting', () => {
    const nest = () => JSON.parse(`${'['.repeat(50_000)}${']'.repeat(50_000)}`);
    expect(sameJson(nest(), nest())).toBe(false);
  });
});

describe('compareResourceVersions', () => {
  it('compares as integers of any size and refuses everything else', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1n << 100n }), fc.bigInt({ min: 0n, max: 1n << 100n }), (a, b) => {
        expect(Math.sign(compareResourceVersions(`${a}`, `${b}`) as number)).toBe(a < b ? -1 : a > b ? 1 : 0);
      }),
    );
    expect(compareResourceVersions('9', '10')).toBeLessThan(0);
    expect(compareResourceVersions('', '1')).toBeUndefined();
    expect(compareResourceVersions(undefined, '1')).toBeUndefined();
    expect(compareResourceVersions('1a', '1')).toBeUndefined();
  });
});
