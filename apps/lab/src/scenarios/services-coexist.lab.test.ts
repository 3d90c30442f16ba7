import { type LabMachine, pollUntil, startResponder, tally } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import {
  kubeProxyIptables,
  kubeProxyNftables,
  NO_KUBE_PROXY_IPTABLES,
  type ProxiedService,
} from '../harness/kube-proxy.ts';
import { writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { clusterIP, type EndpointSpec, makeNode, makeService } from '../harness/objects.ts';
import { preparePods, startPod } from '../harness/pods.ts';

const PORTS = [
  { name: 'tcp', port: 7, targetPort: 7000 },
  { name: 'http', port: 80, targetPort: 8080 },
];
/** Pods of node a, routed to b by static routes; and pods of b, one that a has a route to and one behind the tunnel. */
const A: EndpointSpec = { node: 'a', address: '10.244.1.2' };
const ROUTED: EndpointSpec = { node: 'b', address: '10.244.2.2' };
const TUNNELLED: EndpointSpec = { node: 'b', address: '172.30.0.2' };
const LABEL = { 'service.edgemesh.kubeedge.io/service-proxy-name': '' };

const PORT = { port: 7, targetPort: 7000 };
/** kube-proxy knows all endpoints too, and cannot reach the one behind the tunnel. */
const PROXIED: readonly ProxiedService[] = [
  { name: 'ROUTED', ...PORT, clusterIP: '10.96.4.1', endpoints: ['10.244.1.2', '10.244.2.2'] },
  { name: 'MIXED', ...PORT, clusterIP: '10.96.4.2', endpoints: ['10.244.1.2', '172.30.0.2'] },
  { name: 'THEIRS', ...PORT, clusterIP: '10.96.4.3', endpoints: ['10.244.1.2'] },
];

describe('beside kube-proxy and a CNI', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;
  let client: LabMachine;
  const objects = () => [
    makeNode('a', mesh.host('a').address(), { podCIDR: '10.244.1.0/24' }),
    makeNode('b', mesh.host('b').address(), { podCIDR: '10.244.2.0/24' }),
    ...makeService({ name: 'routed', spec: clusterIP('10.96.4.1'), ports: PORTS, endpoints: [A, ROUTED] }),
    ...makeService({ name: 'mixed', spec: clusterIP('10.96.4.2'), ports: PORTS, endpoints: [A, TUNNELLED] }),
    ...makeService({ name: 'theirs', labels: LABEL, spec: clusterIP('10.96.4.3'), ports: PORTS, endpoints: [A] }),
    ...makeService({
      name: 'host',
      spec: clusterIP('10.96.4.4'),
      ports: [{ port: 7 }],
      endpoints: [{ node: 'b', address: mesh.host('b').address() }],
    }),
  ];

  beforeAll(async () => {
    mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' } } });
    const [hostA, hostB] = [mesh.host('a'), mesh.host('b')];
    await preparePods(hostA, '10.244.1.1/24');
    await preparePods(hostB, '10.244.2.1/24');
    await hostB.must('ip', ['addr', 'add', '172.30.0.1/16', 'dev', 'docker0']);
    const pods = [
      await startPod(hostA, 'a', '10.244.1.2', '10.244.1.1', 24),
      await startPod(hostB, 'b-routed', '10.244.2.2', '10.244.2.1', 24),
      await startPod(hostB, 'b-tunnelled', '172.30.0.2', '172.30.0.1', 16),
    ];
    for (const pod of pods) await startResponder(pod, { tcp: [7000], http: [8080] });
    await startResponder(hostB, { name: 'b-host', tcp: [7] });
    client = await startPod(hostA, 'client', '10.244.1.3', '10.244.1.1', 24);
    await hostA.must('ip', ['route', 'add', '10.244.2.0/24', 'via', hostB.address()]);
    await hostB.must('ip', ['route', 'add', '10.244.1.0/24', 'via', hostA.address()]);
    await hostA.must('sh', ['-ec', kubeProxyIptables(PROXIED)]);
    [a, b] = await Promise.all([mesh.agent('a', { objects: objects() }), mesh.agent('b', { objects: objects() })]);
    await curl(client, 'http://10.96.4.2/', '--retry', '5', '--retry-all-errors');
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const times = (address: string, count: number, machine = client) =>
    tally(machine, { address, port: 7, count, timeoutMs: 1_500 });
  const rulesOf = (agent: MeshAgent) =>
    agent.machine.must('sh', ['-c', 'nft list map inet edgemesh svc4_kernel; nft list map inet edgemesh svc4_live']);
  const streamsTo = async (node: string) => {
    const metrics = await a.machine.must('curl', ['-sS', 'http://127.0.0.1:10551/metrics']);
    const line = /^edgemesh_l4_connections_total\{result="ok"\} (\d+)/m.exec(metrics);
    return { node, count: Number(line?.[1] ?? 0) };
  };

  it('captures before kube-proxy, so that endpoints behind the tunnel work too', async () => {
    for (const machine of [client, a.machine]) {
      expect(await times('10.96.4.2', 20, machine)).toEqual({ a: 10, 'b-tunnelled': 10 });
    }
  });

  it('still does when kube-proxy writes its rules anew', async () => {
    await a.machine.must('sh', [
      '-ec',
      'iptables -t nat -D PREROUTING -j KUBE-SERVICES; iptables -t nat -I PREROUTING 1 -j KUBE-SERVICES',
    ]);
    expect(await times('10.96.4.2', 20)).toEqual({ a: 10, 'b-tunnelled': 10 });
  });

  it('leaves Services to kube-proxy that are not its own', async () => {
    expect(await times('10.96.4.3', 4)).toEqual({ a: 4 });
  });

  it('lets the kernel go to pods of other nodes where a CNI has made routes', async () => {
    const before = await streamsTo('b');
    expect(await times('10.96.4.1', 20)).toEqual({ a: 10, 'b-routed': 10 });
    expect(await streamsTo('b')).toEqual(before);
    const { body } = await curl(client, 'http://10.96.4.1/');
    const other = await curl(client, 'http://10.96.4.1/');
    const far = [body, other.body].map((text) => JSON.parse(text)).find(({ name }) => name === 'b-routed');
    expect(far.client).toBe(a.machine.address());
  });

  it('goes through the tunnel when the route is gone, and back when it returns', async () => {
    const carried = async () => {
      const before = await streamsTo('b');
      const answers = await times('10.96.4.1', 4);
      const after = await streamsTo('b');
      return { answers, through: after.count - before.count };
    };
    await a.machine.must('ip', ['route', 'del', '10.244.2.0/24']);
    await pollUntil(async () => (await carried()).through === 2, { timeoutMs: 60_000, what: 'through the tunnel' });
    expect((await carried()).answers).toEqual({ a: 2, 'b-routed': 2 });
    await a.machine.must('ip', ['route', 'add', '10.244.2.0/24', 'via', mesh.host('b').address()]);
    await pollUntil(async () => (await carried()).through === 0, { timeoutMs: 60_000, what: 'by the kernel again' });
  });

  it('lets the kernel go to a node on the same LAN, once the tunnel has met it there', async () => {
    await a.until('b is on the LAN', (s) => s.peers.some((p) => p.node === 'b' && p.path === 'lan'));
    const before = await streamsTo('b');
    expect(await times('10.96.4.4', 4)).toEqual({ 'b-host': 4 });
    expect(await streamsTo('b')).toEqual(before);
  });

  it('leaves to kube-proxy what needs no agent, where it is told to', async () => {
    const config = JSON.parse(await a.machine.must('cat', [a.configFile]));
    config.modules.edgeProxy.onlyWhereNeeded = true;
    await a.swapConfig(JSON.stringify(config));
    const has = async (address: string) => (await rulesOf(a)).includes(address);
    await pollUntil(async () => !(await has('10.96.4.1')) && (await has('10.96.4.2')), {
      what: 'only mixed has rules',
    });
    // kube-proxy spreads at random.
    expect(Object.keys(await times('10.96.4.1', 40)).sort()).toEqual(['a', 'b-routed']);
    expect(await times('10.96.4.2', 10)).toEqual({ a: 5, 'b-tunnelled': 5 });
    config.modules.edgeProxy.onlyWhereNeeded = false;
    await a.swapConfig(JSON.stringify(config));
    await pollUntil(() => has('10.96.4.1'), { what: 'the rules of routed are back' });
  });

  it('captures before kube-proxy in nftables mode, whichever of the two comes later', async () => {
    await a.machine.must('sh', ['-ec', NO_KUBE_PROXY_IPTABLES]);
    const writeTable = () =>
      a.machine.must('nft', ['-f', '-'], {
        input: `add table ip kube-proxy\ndelete table ip kube-proxy\n${kubeProxyNftables(PROXIED)}`,
      });
    await writeTable();
    for (const machine of [client, a.machine]) {
      expect(await times('10.96.4.2', 20, machine)).toEqual({ a: 10, 'b-tunnelled': 10 });
      expect(await times('10.96.4.3', 4, machine)).toEqual({ a: 4 });
    }
    await a.process.kill();
    // Now kube-proxy is alone: only what it can reach answers.
    await pollUntil(async () => (await times('10.96.4.2', 4))['b-tunnelled'] === undefined, {
      what: 'kube-proxy alone',
    });
    await a.restart();
    await pollUntil(async () => (await times('10.96.4.2', 10))['b-tunnelled'] === 5, {
      timeoutMs: 30_000,
      what: 'all is back',
    });
    expect(await times('10.96.4.1', 20)).toEqual({ a: 10, 'b-routed': 10 });
  }, 90_000);

  it('goes on without the agent: at once what the kernel can do, and mixed Services after the watchdog', async () => {
    await a.process.kill('SIGKILL');
    expect(await times('10.96.4.1', 20)).toEqual({ a: 10, 'b-routed': 10 });
    expect(await times('10.96.4.2', 10)).toMatchObject({ a: 5 });
    await pollUntil(async () => (await times('10.96.4.2', 10)).a === 10, { timeoutMs: 60_000, what: 'the watchdog' });
    expect(await times('10.96.4.1', 20)).toEqual({ a: 10, 'b-routed': 10 });
    await a.restart();
    await pollUntil(async () => (await times('10.96.4.2', 10))['b-tunnelled'] === 5, { what: 'all is back' });
    await writeManifests(b.manifestDir, { objects: objects() });
  });
});
