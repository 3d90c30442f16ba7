import { type LabMachine, startResponder, tally } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMesh, type Mesh, type MeshAgent, type Status } from '../harness/mesh.ts';
import { clusterIP, makeNode, makeService } from '../harness/objects.ts';
import { createPodGroup, type PodGroup, preparePods, startPod } from '../harness/pods.ts';

const HERE = '10.96.1.1';
const MIXED = '10.96.1.2';
const STICKY = '10.96.1.3';
const ports = [{ name: 'tcp', port: 7, targetPort: 7000 }];
const near = { node: 'a', address: '172.17.0.2' };
const far = { node: 'b', address: '172.17.0.2' };

/** All but the one with affinity. */
const servesTwo = ({ details }: Status) => {
  const proxy = details?.proxy as { kernel?: { socketLb?: { frontends: number } } } | undefined;
  return proxy?.kernel?.socketLb?.frontends === 2;
};

describe('Services at connect', () => {
  let group: PodGroup;
  let mesh: Mesh;
  let node: LabMachine;
  let client: LabMachine;
  let container: LabMachine;
  let agent: MeshAgent;

  beforeAll(async () => {
    group = await createPodGroup();
    mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' } } });
    node = mesh.host('a');
    await Promise.all([node, mesh.host('b')].map((host) => preparePods(host)));
    client = await startPod(node, 'client', '172.17.0.3', undefined, undefined, group);
    container = await startPod(node, 'container', '172.17.0.5');
    for (const [host, name] of [
      [node, 'near'],
      [mesh.host('b'), 'far'],
    ] as const) {
      await startResponder(await startPod(host, name, '172.17.0.2'), { tcp: [7000] });
    }
    const affinity = { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } } };
    const objects = [
      makeNode('a', node.address()),
      makeNode('b', mesh.host('b').address()),
      ...makeService({ name: 'here', spec: clusterIP(HERE), ports, endpoints: [near] }),
      ...makeService({ name: 'mixed', spec: clusterIP(MIXED), ports, endpoints: [near, far] }),
      ...makeService({ name: 'sticky', spec: clusterIP(STICKY, affinity), ports, endpoints: [near, far] }),
    ];
    const modules = { edgeProxy: { enable: true, podGroup: group.name } };
    agent = await mesh.agent('a', { objects, modules });
    await mesh.agent('b', { objects });
    await agent.until('sockets being served', servesTwo);
  });
  afterAll(async () => {
    await mesh?.[Symbol.asyncDispose]();
    await group?.[Symbol.asyncDispose]();
  });

  const ask = (from: LabMachine, address: string, count: number) => tally(from, { address, port: 7, count });
  /** First packets that nftables has led to an endpoint or the agent so far, by Service address. */
  const translated = async (address: string) => {
    const maps = await Promise.all(
      ['svc4_live', 'svc4_kernel'].map((map) => node.must('nft', ['list', 'map', 'inet', 'edgemesh', map])),
    );
    const counters = maps
      .join('\n')
      .matchAll(new RegExp(`${address.replaceAll('.', '\\.')} \\. tcp \\. 7 counter packets (\\d+)`, 'g'));
    return [...counters].reduce((sum, [, packets]) => sum + Number(packets), 0);
  };

  it.each([
    ['a pod', () => client],
    ['a process of the node', () => node],
  ])('reaches near and far endpoints from %s, and no packet is translated', async (_, from) => {
    expect(await ask(from(), HERE, 3)).toEqual({ near: 3 });
    expect(await ask(from(), MIXED, 6)).toEqual({ near: 3, far: 3 });
    expect(await translated(HERE)).toBe(0);
    expect(await translated(MIXED)).toBe(0);
    expect(await node.must('conntrack', ['-L', '-d', MIXED])).toBe('');
  });

  it('leaves containers of others, and what needs memory, to nftables', async () => {
    expect(await ask(container, MIXED, 6)).toEqual({ near: 3, far: 3 });
    expect(await translated(MIXED)).toBe(6);
    expect(Object.values(await ask(client, STICKY, 5))).toEqual([5]);
    expect(await translated(STICKY)).toBe(5);
  });

  it('goes on without the agent, by nftables', async () => {
    await agent.process.kill('SIGKILL');
    expect(await ask(client, HERE, 5)).toEqual({ near: 5 });
    expect(await translated(HERE)).toBe(5);
    await agent.restart();
    await agent.until('sockets being served again', servesTwo);
    expect(await ask(client, HERE, 2)).toEqual({ near: 2 });
    expect(await translated(HERE)).toBe(0);
  });
});
