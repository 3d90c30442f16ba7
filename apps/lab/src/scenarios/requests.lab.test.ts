import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { HELLO, labServices } from '../harness/services.ts';

const rule = (loadBalancer: object) => ({
  apiVersion: 'networking.istio.io/v1beta1',
  kind: 'DestinationRule',
  metadata: { name: 'hello', namespace: 'default' },
  spec: { host: 'hello', trafficPolicy: { loadBalancer } },
});

describe('a Service whose rule looks at requests, backed on three nodes', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  const ask = async (...headers: string[]) => {
    const { body, stderr } = await curl(a.machine, `http://${HELLO}/`, ...headers.flatMap((header) => ['-H', header]));
    expect(stderr).toBe('');
    return /hello from (\w)/.exec(body)?.[1];
  };

  beforeAll(async () => {
    mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' }, c: { lan: 'home' } } });
    const services = labServices(['a', 'b', 'c']);
    const agents = await Promise.all(
      ['a', 'b', 'c'].map(async (host) => {
        await mesh.backend(host);
        return mesh.agent(host, { services, config: { commonConfig: { logLevel: 'info' } } });
      }),
    );
    a = agents[0] as MeshAgent;
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('keeps each user at one endpoint by a header, the one on this node included', async () => {
    await writeManifests(a.manifestDir, { rule: [rule({ consistentHash: { httpHeaderName: 'x-user' } })] });
    const users = Array.from({ length: 12 }, (_, i) => `x-user: user-${i}`);
    const round = async () => {
      const nodes: (string | undefined)[] = [];
      for (const user of users) nodes.push(await ask(user));
      return nodes;
    };
    await expect
      .poll(
        async () =>
          new Set([await ask('x-user: jo'), await ask('x-user: jo'), await ask('x-user: jo'), await ask('x-user: jo')])
            .size,
        { timeout: 15_000 },
      )
      .toBe(1);
    const first = await round();
    expect(await round()).toEqual(first);
    expect(new Set(first)).toEqual(new Set(['a', 'b', 'c']));
  });

  it('reads each request of one connection', async () => {
    const users = ['user-0', 'user-1', 'user-2', 'user-3', 'user-4', 'user-5'];
    const args = users.flatMap((user, i) => [
      ...(i > 0 ? ['--next'] : []),
      '-sS',
      '-H',
      `x-user: ${user}`,
      '-w',
      '%{num_connects} ',
      `http://${HELLO}/`,
    ]);
    const { stdout } = await a.machine.exec('curl', args);
    const nodes = [...stdout.matchAll(/hello from (\w)/g)].map((m) => m[1]);
    const connects = [...stdout.matchAll(/(\d) (?:hello|$)/g)].reduce((sum, m) => sum + Number(m[1]), 0);
    expect([connects, new Set(nodes).size > 1]).toEqual([1, true]);
    for (const [i, user] of users.entries()) expect(await ask(`x-user: ${user}`)).toBe(nodes[i]);
  });

  it('goes back to plain connections when the rule goes', async () => {
    await writeManifests(a.manifestDir, { rule: [rule({ simple: 'ROUND_ROBIN' })] });
    await expect
      .poll(async () => new Set([await ask('x-user: jo'), await ask('x-user: jo'), await ask('x-user: jo')]).size, {
        timeout: 15_000,
      })
      .toBeGreaterThan(1);
  });
});
