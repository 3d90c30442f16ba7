import { type LabMachine, startResponder, tally } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { clusterIP, type EndpointSpec, makeNode, makeService, type PortSpec } from '../harness/objects.ts';
import { preparePods, startPod } from '../harness/pods.ts';

const TCP: PortSpec = { name: 'tcp', port: 7, targetPort: 7000 };
const HTTP: PortSpec = { name: 'http', port: 80, targetPort: 8080 };
const UDP: PortSpec = { name: 'udp', port: 7, targetPort: 7001, protocol: 'UDP' };
const SIX = (node: string): EndpointSpec => ({ node, address: 'fd17::2', hostname: `p-${node}` });
const FOUR = (node: string): EndpointSpec => ({ node, address: '172.17.0.2', hostname: `p-${node}` });
const DNS6 = 'fd96:16:16::16';
const DUAL = { clusterIP: '10.96.5.1', clusterIPs: ['10.96.5.1', 'fd00:96::51'], ipFamilies: ['IPv4', 'IPv6'] };
const PODS = [FOUR('a'), FOUR('b'), SIX('a'), SIX('b')];

const objects = [
  ...makeService({
    name: 'dual',
    spec: { ...DUAL, type: 'NodePort' },
    ports: [{ ...TCP, nodePort: 30_507 }, UDP, HTTP],
    endpoints: PODS,
  }),
  ...makeService({ name: 'six', spec: clusterIP('fd00:96::52'), ports: [TCP, HTTP], endpoints: [SIX('a'), SIX('b')] }),
  ...makeService({ name: 'empty', spec: clusterIP('fd00:96::53'), ports: [TCP, UDP] }),
  ...makeService({ name: 'set', spec: clusterIP('None'), ports: [{ name: 'http', port: 8080 }], endpoints: PODS }),
];

describe('IPv6 and dual stack', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let client: LabMachine;

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: { a: { lan: 'home', dns: ['169.254.96.16'] }, b: { lan: 'home' }, outside: { lan: 'home' } },
      ipv6: true,
    });
    for (const node of ['a', 'b']) {
      const host = mesh.host(node);
      await preparePods(host);
      await host.must('sh', [
        '-ec',
        'ip addr add fd17::1/64 dev docker0 nodad; sysctl -qw net.ipv6.conf.all.forwarding=1',
      ]);
      const pod = await withIpv6(await startPod(host, node, '172.17.0.2'), 'fd17::2');
      await startResponder(pod, { host: '::', tcp: [7000], http: [8080], udp: [7001] });
    }
    client = await withIpv6(await startPod(mesh.host('a'), 'client', '172.17.0.3'), 'fd17::3');
    const nodes = ['a', 'b'].map((name) => makeNode(name, mesh.host(name).address()));
    const options = { objects: [...nodes, ...objects] };
    // DNS listens on both addresses of the link, where it is told to.
    const modules = { edgeDNS: { enable: true, listenAddress: ['169.254.96.16', DNS6] } };
    [a] = await Promise.all([mesh.agent('a', { ...options, modules }), mesh.agent('b', options)]);
    await curl(client, 'http://10.96.5.1/', '--retry', '5', '--retry-all-errors');
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const withIpv6 = async (pod: LabMachine, address: string) => {
    await pod.must('sh', ['-ec', `ip addr add ${address}/64 dev eth0 nodad; ip -6 route add default via fd17::1`]);
    return pod;
  };
  const times = (machine: LabMachine, address: string, count: number, port = 7, protocol: 'tcp' | 'udp' = 'tcp') =>
    tally(machine, { address, port, protocol, count, timeoutMs: 2_000 });

  it.each(['10.96.5.1', 'fd00:96::51', 'fd00:96::52'])('spreads %s over the pods of both nodes', async (address) => {
    for (const machine of [client, a.machine]) expect(await times(machine, address, 20)).toEqual({ a: 10, b: 10 });
  });

  it('answers DNS on the IPv6 address of its link, over UDP and TCP, to pods too', async () => {
    for (const machine of [client, a.machine]) {
      for (const how of ['+notcp', '+tcp']) {
        const args = ['+short', how, '+time=3', `@${DNS6}`, 'dual.default.svc.cluster.local', 'AAAA'];
        expect((await machine.must('dig', args)).trim()).toBe('fd00:96::51');
      }
    }
  });

  it('serves UDP on IPv6', async () => {
    expect(Object.keys(await times(client, 'fd00:96::51', 12, 7, 'udp')).sort()).toEqual(['a', 'b']);
  });

  it('refuses at once on IPv6 where there is no endpoint', async () => {
    expect(await times(client, 'fd00:96::53', 1)).toEqual({ ECONNREFUSED: 1 });
    expect(await times(client, 'fd00:96::53', 1, 7, 'udp')).toEqual({ ECONNREFUSED: 1 });
  });

  it('serves node ports on IPv6', async () => {
    expect(Object.keys(await times(mesh.host('outside'), mesh.host('a').address6(), 8, 30_507)).sort()).toEqual([
      'a',
      'b',
    ]);
  });

  it('reaches a dual-stack pod of a headless Service on another node by its name', async () => {
    const { body, stderr } = await curl(client, 'http://p-b.set.default.svc.cluster.local:8080/');
    expect({ name: JSON.parse(body || '{}').name, stderr }).toEqual({ name: 'b', stderr: '' });
  });
});
