import { setTimeout as delay } from 'node:timers/promises';
import { type LabMachine, startResponder, tally } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { clusterIP, type EndpointSpec, makeNode, makeService, type PortSpec } from '../harness/objects.ts';
import { preparePods, startPod } from '../harness/pods.ts';

const on = (node: string, address: string, more: Partial<EndpointSpec> = {}): EndpointSpec => ({
  node,
  address,
  ...more,
});
/** Two pods on each node, with the same addresses on both. */
const ALL = [on('a', '172.17.0.2'), on('a', '172.17.0.4'), on('b', '172.17.0.2'), on('b', '172.17.0.4')];
const TCP: PortSpec = { name: 'tcp', port: 7, targetPort: 7000 };
const HTTP: PortSpec = { name: 'http', port: 80, targetPort: 8080 };
const UDP: PortSpec = { name: 'udp', port: 7, targetPort: 7001, protocol: 'UDP' };
const LABEL = { 'service.edgemesh.kubeedge.io/service-proxy-name': '' };

const service = (name: string, last: number, endpoints: readonly EndpointSpec[], spec = {}, ports = [TCP, HTTP]) =>
  makeService({ name, spec: clusterIP(`10.96.1.${last}`, spec), ports, endpoints });

const objects = (outside: string) => [
  ...service('spread', 1, ALL, {}, [TCP, HTTP, UDP]),
  ...service('sticky', 2, ALL, {
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 1 } },
  }),
  ...service('here', 3, ALL, { internalTrafficPolicy: 'Local' }),
  ...service('elsewhere', 4, ALL.slice(2), { internalTrafficPolicy: 'Local' }),
  ...service('empty', 5, [], {}, [TCP, UDP]),
  ...service('unready', 6, [on('a', '172.17.0.2', { ready: false })]),
  ...service('published', 7, [on('a', '172.17.0.2', { ready: false })], { publishNotReadyAddresses: true }),
  ...service('leaving', 8, [on('a', '172.17.0.2', { ready: false, serving: true, terminating: true })]),
  ...service('hairpin', 9, [on('a', '172.17.0.2')]),
  ...makeService({ name: 'labelled', labels: LABEL, spec: clusterIP('10.96.1.10'), ports: [TCP], endpoints: ALL }),
  ...service('node-port', 11, ALL, { type: 'NodePort' }, [
    { ...TCP, nodePort: 30_007 },
    { ...UDP, nodePort: 30_007 },
  ]),
  ...service('local-port', 12, ALL.slice(0, 1), { type: 'NodePort', externalTrafficPolicy: 'Local' }, [
    { ...HTTP, nodePort: 30_080 },
  ]),
  ...service('external', 13, ALL, { externalIPs: ['203.0.113.13'] }),
  ...makeService({
    name: 'balanced',
    spec: clusterIP('10.96.1.14', {
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
      healthCheckNodePort: 32_014,
      loadBalancerSourceRanges: [`${outside}/32`, '172.17.0.0/16'],
    }),
    ports: [{ ...HTTP, nodePort: 30_014 }],
    endpoints: ALL.slice(0, 1),
    ingress: [{ ip: '203.0.113.14' }, { ip: '203.0.113.15', ipMode: 'Proxy' }],
  }),
  ...makeService({
    name: 'by-hand',
    spec: { ...clusterIP('10.96.1.16'), selector: undefined },
    ports: [HTTP],
    endpoints: [{ address: outside }],
  }),
  ...twoSlices(),
];

/** The named target port of one Service is another number in each slice. */
function twoSlices(): object[] {
  const [web, slice] = service('renamed', 17, ALL.slice(0, 1), {}, [{ name: 'tcp', port: 7, targetPort: 7000 }]) as [
    object,
    { metadata: object },
  ];
  const second = makeService({
    name: 'renamed',
    spec: {},
    ports: [{ name: 'tcp', port: 7100 }],
    endpoints: ALL.slice(1, 2),
  })[1] as { metadata: object };
  return [web, slice, { ...second, metadata: { ...second.metadata, name: 'renamed-2' } }];
}

describe('what a pod sees of a Service', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;
  let client: LabMachine;
  let first: LabMachine;
  let outside: LabMachine;
  const pods = ['a-2', 'a-4', 'b-2', 'b-4'];

  beforeAll(async () => {
    mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' }, outside: { lan: 'home' } } });
    outside = mesh.host('outside');
    for (const node of ['a', 'b']) {
      await preparePods(mesh.host(node));
      for (const last of [2, 4]) {
        const pod = await startPod(mesh.host(node), `${node}-${last}`, `172.17.0.${last}`);
        await startResponder(pod, { tcp: [7000, 7100], http: [8080], udp: [7001] });
        if (node === 'a' && last === 2) first = pod;
      }
    }
    client = await startPod(mesh.host('a'), 'client', '172.17.0.3');
    await startResponder(outside, { http: [8080] });
    await outside.must('ip', ['route', 'add', '203.0.113.0/24', 'via', mesh.host('a').address()]);
    await mesh.host('b').must('ip', ['route', 'add', '203.0.113.0/24', 'via', mesh.host('a').address()]);
    const nodes = ['a', 'b'].map((name) => makeNode(name, mesh.host(name).address(), { podCIDR: '172.17.0.0/16' }));
    const options = { objects: [...nodes, ...objects(outside.address())] };
    const only = { edgeProxy: { enable: true, serviceFilterMode: 'FilterIfLabelDoesNotExists' } };
    [a, b] = await Promise.all([mesh.agent('a', options), mesh.agent('b', { ...options, modules: only })]);
    await curl(a.machine, 'http://10.96.1.1/', '--retry', '5', '--retry-all-errors');
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const times = (machine: LabMachine, address: string, count = 1, port = 7, protocol: 'tcp' | 'udp' = 'tcp') =>
    tally(machine, { address, port, protocol, count, timeoutMs: 1_500 });
  const each = (names: readonly string[], count: number) => Object.fromEntries(names.map((name) => [name, count]));

  it.each(['node', 'pod'])('spreads connections of a %s over all endpoints evenly, local and remote', async (from) => {
    expect(await times(from === 'node' ? a.machine : client, '10.96.1.1', 40)).toEqual(each(pods, 10));
  });

  it('serves TCP and UDP on the same port, and several ports', async () => {
    const seen = await times(client, '10.96.1.1', 24, 7, 'udp');
    expect(Object.keys(seen).sort()).toEqual(pods);
    expect((await curl(client, 'http://10.96.1.1/')).status).toBe(200);
  });

  it('serves target ports that differ from slice to slice', async () => {
    expect(await times(client, '10.96.1.17', 10)).toEqual(each(['a-2', 'a-4'], 5));
  });

  it('keeps a client on its endpoint with ClientIP affinity, until it was silent for the timeout', async () => {
    const seen = new Set<string>();
    for (let round = 0; round < 6; round++) {
      const answers = await times(client, '10.96.1.2', 6);
      expect(Object.keys(answers)).toHaveLength(1);
      for (const name of Object.keys(answers)) seen.add(name);
      await delay(1_300);
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  it('stays on the node with internalTrafficPolicy Local, and drops where the node has no endpoint', async () => {
    expect(await times(client, '10.96.1.3', 10)).toEqual(each(['a-2', 'a-4'], 5));
    expect(await times(client, '10.96.1.4')).toEqual({ timeout: 1 });
  });

  it('refuses at once where there is no endpoint, over TCP and UDP, from pods and from the node', async () => {
    for (const machine of [client, a.machine]) {
      const started = performance.now();
      expect(await times(machine, '10.96.1.5')).toEqual({ ECONNREFUSED: 1 });
      expect(await times(machine, '10.96.1.5', 1, 7, 'udp')).toEqual({ ECONNREFUSED: 1 });
      expect(performance.now() - started).toBeLessThan(1_400);
    }
  });

  it('leaves unready endpoints out unless they are published, and uses terminating ones as long as there is no other', async () => {
    expect(await times(client, '10.96.1.6')).toEqual({ ECONNREFUSED: 1 });
    expect(await times(client, '10.96.1.7')).toEqual({ 'a-2': 1 });
    expect(await times(client, '10.96.1.8')).toEqual({ 'a-2': 1 });
  });

  it('lets a pod reach itself through its Service', async () => {
    expect(await times(first, '10.96.1.9', 3)).toEqual({ 'a-2': 3 });
  });

  it('leaves labelled Services alone in one filter mode, and serves only those in the other', async () => {
    expect(await times(client, '10.96.1.10')).not.toHaveProperty('a-2');
    expect(Object.keys(await times(b.machine, '10.96.1.10', 8)).sort()).toEqual(pods);
    expect(Object.keys(await times(b.machine, '10.96.1.1', 1)).some((name) => pods.includes(name))).toBe(false);
  });

  it('serves node ports on every address of the node by rule, without a listening socket', async () => {
    expect(Object.keys(await times(outside, a.machine.address(), 12, 30_007)).sort()).toEqual(pods);
    expect(Object.keys(await times(outside, a.machine.address(), 24, 30_007, 'udp')).sort()).toEqual(pods);
    expect(await a.machine.must('ss', ['-Hlntu'])).not.toContain(':30007');
  });

  it('keeps the address of outside clients with externalTrafficPolicy Local, and hides it otherwise', async () => {
    const kept = await curl(outside, `http://${a.machine.address()}:30080/`);
    expect(JSON.parse(kept.body)).toMatchObject({ name: 'a-2', client: outside.address() });
    const hidden = await curl(outside, 'http://203.0.113.13/');
    expect(JSON.parse(hidden.body).client).not.toBe(outside.address());
  });

  it('serves external IPs', async () => {
    expect(await times(outside, '203.0.113.13', 8)).toEqual(each(pods, 2));
    expect(await times(client, '203.0.113.13', 8)).toEqual(each(pods, 2));
  });

  it('serves load balancer addresses to their source ranges, and none of mode Proxy', async () => {
    expect(JSON.parse((await curl(outside, 'http://203.0.113.14/')).body).client).toBe(outside.address());
    expect((await curl(client, 'http://203.0.113.14/')).status).toBe(200);
    expect((await curl(b.machine, 'http://203.0.113.14/', '--max-time', '1')).status).toBe(0);
    expect((await curl(outside, 'http://203.0.113.15/', '--max-time', '1')).status).toBe(0);
  });

  it('answers load balancers at healthCheckNodePort', async () => {
    const here = await curl(outside, `http://${a.machine.address()}:32014/`);
    expect([here.status, JSON.parse(here.body)]).toEqual([
      200,
      { service: { namespace: 'default', name: 'balanced' }, localEndpoints: 1, serviceProxyHealthy: true },
    ]);
  });

  it('serves a Service without selector, whose endpoints are no pods', async () => {
    expect(JSON.parse((await curl(client, 'http://10.96.1.16/')).body).name).toBe('outside');
  });
});
