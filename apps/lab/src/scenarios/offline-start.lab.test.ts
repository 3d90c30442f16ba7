import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { startKubeApi } from '../harness/kube.ts';
import { clusterObjects, writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent, POD_IP } from '../harness/mesh.ts';
import { HELLO, labServices } from '../harness/services.ts';

describe.each(['apiserver', 'metaserver'] as const)('agents that learn from a %s', (kind) => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;
  let api: Awaited<ReturnType<typeof startKubeApi>>;

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: { a: { lan: 'home', dns: ['169.254.96.16'] }, b: { lan: 'home' }, api: { lan: 'home' } },
    });
    await Promise.all([mesh.backend('a'), mesh.backend('b')]);
    const objects = Object.fromEntries(labServices(['b']).map((plan) => [plan.name, clusterObjects(plan)]));
    await writeManifests(`${mesh.folder}/cluster`, objects);
    api = await startKubeApi(mesh.host('api'), `${mesh.folder}/cluster`, kind);
    const kubeAPIConfig = kind === 'apiserver' ? { master: api.url } : { metaServer: { server: api.url } };
    const config = { kubeAPIConfig };
    [a, b] = await Promise.all([
      mesh.agent('a', { kubernetes: true, config }),
      mesh.agent('b', { kubernetes: true, config }),
    ]);
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('serve the Services of the cluster', async () => {
    await a.until('the services are known', (s) => s.catalog.services === 4);
    // Rules here and endpoints there follow the catalog a moment later.
    await a.until('an answer', async () => (await curl(a.machine, `http://${HELLO}/`)).status === 200);
    const { body, stderr } = await curl(a.machine, `http://${HELLO}/`);
    expect({ body, stderr }).toEqual({ body: `hello from b (${POD_IP})\n`, stderr: '' });
  });

  it('follow a change of the endpoints', async () => {
    await writeManifests(`${mesh.folder}/cluster`, { hello: clusterObjects(labServices(['a'])[0] as never) });
    await a.until(
      'the endpoint moved',
      async () => (await curl(a.machine, `http://${HELLO}/`)).body.includes('from a'),
      90_000,
    );
  }, 100_000);

  it('work from the snapshot when they start while the API is down', async () => {
    await api.process.kill('SIGKILL');
    await Promise.all([a.process.kill(), b.process.kill()]);
    await Promise.all([a.restart(), b.restart()]);
    const { body, stderr } = await curl(b.machine, `http://${HELLO}/`);
    expect({ body, stderr }).toEqual({ body: `hello from a (${POD_IP})\n`, stderr: '' });
    expect((await a.status()).catalog.source).toMatch(/snapshot/);
    expect((await a.machine.must('dig', ['+short', '@169.254.96.16', 'echo.default.svc.cluster.local'])).trim()).toBe(
      '10.96.0.11',
    );
  });

  it('start empty, not broken, without API and snapshot', async () => {
    await a.process.kill();
    await rm(a.dataDir, { recursive: true, force: true });
    await a.restart();
    expect((await a.status()).catalog.services).toBe(0);
  });
});
