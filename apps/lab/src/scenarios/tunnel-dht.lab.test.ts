import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { createMesh } from '../harness/mesh.ts';
import { GREETING } from '../harness/nat-pairs.ts';
import { HELLO, labServices } from '../harness/services.ts';

describe('two relays that keep no records of each other', () => {
  it('let their nodes find each other by the DHT, and talk', async () => {
    await using mesh = await createMesh({
      hosts: { a: { lan: 'home' }, b: { lan: 'office' }, first: { lan: 'internet' }, second: { lan: 'internet' } },
      routers: { 'nat-a': { lan: 'home', nat: 'symmetric' }, 'nat-b': { lan: 'office', nat: 'symmetric' } },
    });
    const server = async (name: string, staticPeers: readonly string[]) => {
      const file = join(mesh.folder, `${name}.yaml`);
      const header = { apiVersion: 'server.edgemesh.config.kubeedge.io/v1alpha1', kind: 'EdgeMeshServer' };
      await writeFile(file, JSON.stringify({ ...header, dht: 'on', staticPeers }));
      await mesh.server(name, { args: ['--config-file', file] });
      return mesh.host(name).address();
    };
    const first = await server('first', []);
    const second = await server('second', [first]);
    const options = { services: labServices(['b']), tunnel: { dht: 'on' } };
    await Promise.all([
      mesh.backend('b'),
      mesh.agent('a', { ...options, relays: [first] }),
      mesh.agent('b', { ...options, relays: [second] }),
    ]);
    const answer = async () => (await curl(mesh.host('a'), `http://${HELLO}/`)).body;
    await expect.poll(answer, { timeout: 30_000, interval: 500 }).toBe(GREETING);
  });
});
