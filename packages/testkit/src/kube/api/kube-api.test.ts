import { describe, expect, it } from 'vitest';
import { builtinKinds, createKubeApi, customKind, type KubeApiOptions } from '../index.ts';
import { createWireClient } from '../wire-client.ts';

const service = (name: string, more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, ...more },
  spec: { ports: [{ port: 80 }] },
});
const route = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'VirtualService',
  metadata: { name: 'vs' },
  spec: { hosts: ['a'] },
};

async function start(options?: KubeApiOptions) {
  const api = await createKubeApi(options);
  return { api, client: createWireClient(api.url), [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

describe('objects', () => {
  it('keeps one revision for the whole cluster, and one uid per object', async () => {
    await using t = await start();
    const first = t.api.apply(service('a'));
    const second = t.api.apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } });
    const third = t.api.apply(service('a', { labels: { x: '1' } }));
    expect([first, second, third].map((o) => o.metadata.resourceVersion)).toEqual(['1001', '1002', '1003']);
    expect(third.metadata.uid).toBe(first.metadata.uid);
    expect(third.metadata.creationTimestamp).toBe(first.metadata.creationTimestamp);
    expect(second.metadata.namespace).toBeUndefined();
  });

  it('leaves the revision alone when nothing changes', async () => {
    await using t = await start();
    t.api.apply(service('a'));
    expect(t.api.apply(service('a')).metadata.resourceVersion).toBe('1001');
  });

  it('counts generation by what is neither metadata nor status, where the kind has it', async () => {
    await using t = await start();
    const generation = (object: object) => t.api.apply({ ...route, ...object }).metadata.generation;
    expect(generation({})).toBe(1);
    expect(generation({ metadata: { name: 'vs', labels: { a: 'b' } } })).toBe(1);
    expect(generation({ status: { ok: true } })).toBe(1);
    expect(generation({ spec: { hosts: ['b'] } })).toBe(2);
    expect(t.api.apply(service('a')).metadata.generation).toBeUndefined();
  });

  it('gives Services an address and keeps it', async () => {
    await using t = await start();
    const spec = t.api.apply(service('a')).spec as Record<string, unknown>;
    expect(spec).toMatchObject({ type: 'ClusterIP', sessionAffinity: 'None', clusterIPs: [spec.clusterIP] });
    expect(spec.ports).toEqual([{ protocol: 'TCP', targetPort: 80, port: 80 }]);
    const again = t.api.apply({ ...service('a'), spec: { ports: [{ port: 81 }] } });
    expect((again.spec as Record<string, unknown>).clusterIP).toBe(spec.clusterIP);
    const headless = t.api.apply({ ...service('h'), spec: { clusterIP: 'None' } });
    expect(headless.spec).toMatchObject({ clusterIP: 'None', clusterIPs: ['None'] });
  });

  it('applies YAML of several documents and lists', async () => {
    await using t = await start();
    const applied = t.api.applyYaml(`
apiVersion: v1
kind: ConfigMap
metadata: { name: one }
---
---
apiVersion: v1
kind: List
items:
  - { apiVersion: v1, kind: Secret, metadata: { name: two } }
`);
    expect(applied.map((object) => `${object.kind} ${object.metadata.namespace}/${object.metadata.name}`)).toEqual([
      'ConfigMap default/one',
      'Secret default/two',
    ]);
    expect(() => t.api.applyYaml('just: text')).toThrow(/not a Kubernetes object/);
  });
});

describe('REST', () => {
  it('creates, reads, replaces, patches and deletes', async () => {
    await using t = await start();
    const path = '/api/v1/namespaces/default/services';
    const created = await t.client.send('POST', path, service('a'));
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({
      kind: 'Service',
      apiVersion: 'v1',
      metadata: { name: 'a', namespace: 'default' },
    });
    const replaced = await t.client.send('PUT', `${path}/a`, {
      ...created.body,
      metadata: { ...created.body.metadata, labels: { x: '1' } },
    });
    expect(replaced.status).toBe(200);
    const patched = await t.client.send(
      'PATCH',
      `${path}/a`,
      { metadata: { labels: { x: null, y: '2' } } },
      'application/merge-patch+json',
    );
    expect(patched.body.metadata).toMatchObject({ labels: { y: '2' }, resourceVersion: '1003' });
    const removed = await t.client.send('DELETE', `${path}/a`);
    expect(removed.body).toMatchObject({ kind: 'Status', status: 'Success', details: { name: 'a', kind: 'services' } });
    expect((await t.client.get(`${path}/a`)).status).toBe(404);
  });

  it('refuses with the Status that the real server gives', async () => {
    await using t = await start();
    const path = '/api/v1/namespaces/default/services';
    t.api.apply(service('a'));
    const missing = await t.client.get(`${path}/nope`);
    expect(missing.body).toMatchObject({
      kind: 'Status',
      status: 'Failure',
      reason: 'NotFound',
      message: 'services "nope" not found',
      details: { name: 'nope', kind: 'services' },
      code: 404,
    });
    expect((await t.client.send('POST', path, service('a'))).body).toMatchObject({
      code: 409,
      reason: 'AlreadyExists',
    });
    expect((await t.client.send('PUT', `${path}/a`, service('a', { resourceVersion: '1' }))).body).toMatchObject({
      code: 409,
      reason: 'Conflict',
    });
    expect((await t.client.send('POST', path, service('Bad_Name'))).body).toMatchObject({
      code: 422,
      reason: 'Invalid',
      details: { causes: [{ field: 'metadata.name' }] },
    });
    expect((await t.client.send('POST', path, { ...service('b'), spec: {} })).body).toMatchObject({
      code: 422,
      details: { causes: [{ field: 'spec.ports' }] },
    });
    expect((await t.client.send('POST', path, '{')).body).toMatchObject({ code: 400, reason: 'BadRequest' });
    expect((await t.client.send('POST', path, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'x' } })).status).toBe(
      400,
    );
    expect((await t.client.send('POST', path, service('c', { namespace: 'other' }))).status).toBe(400);
    expect((await t.client.send('PATCH', `${path}/a`, '[]', 'application/json-patch+json')).status).toBe(415);
    expect(
      (
        await t.client.send(
          'PATCH',
          `${path}/a`,
          { metadata: { resourceVersion: '7' } },
          'application/merge-patch+json',
        )
      ).status,
    ).toBe(409);
    for (const unknown of [
      '/api/v1/gadgets',
      '/apis/x.io/v1/things',
      '/api/v2/services',
      '/api/v1/services/a',
      '/api/v1/namespaces/default/nodes',
      '/nope',
    ]) {
      expect((await t.client.get(unknown)).body, unknown).toMatchObject({ kind: 'Status', code: 404 });
    }
  });

  it('keeps status apart: /status changes nothing else, and the object changes no status', async () => {
    await using t = await start();
    const path = '/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways';
    const gateway = {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name: 'g' },
      spec: { x: 1 },
      status: { forged: true },
    };
    const created = await t.client.send('POST', path, gateway);
    expect(created.body.status).toBeUndefined();
    const status = await t.client.send('PUT', `${path}/g/status`, {
      ...created.body,
      spec: { x: 2 },
      status: { ready: true },
    });
    expect(status.body).toMatchObject({ spec: { x: 1 }, status: { ready: true }, metadata: { generation: 1 } });
    const main = await t.client.send('PUT', `${path}/g`, { ...gateway, spec: { x: 3 } });
    expect(main.body).toMatchObject({ spec: { x: 3 }, status: { ready: true }, metadata: { generation: 2 } });
    const patched = await t.client.send(
      'PATCH',
      `${path}/g/status`,
      { status: { ready: false } },
      'application/merge-patch+json',
    );
    expect(patched.body).toMatchObject({ spec: { x: 3 }, status: { ready: false } });
    expect((await t.client.send('PUT', '/api/v1/namespaces/default/configmaps/c/status', {})).status).toBe(404);
  });

  it('serves one stored object at every version of its group', async () => {
    await using t = await start();
    t.api.apply({ ...route, apiVersion: 'networking.istio.io/v1alpha3' });
    for (const version of ['v1alpha3', 'v1beta1', 'v1']) {
      const list = await t.client.get(`/apis/networking.istio.io/${version}/virtualservices`);
      expect(list.body.apiVersion).toBe(`networking.istio.io/${version}`);
      expect(list.body.items?.[0]).toMatchObject({
        apiVersion: `networking.istio.io/${version}`,
        kind: 'VirtualService',
      });
    }
  });

  it('deletes with finalizers in two steps', async () => {
    await using t = await start();
    t.api.apply(service('a', { finalizers: ['x/y'] }));
    t.api.remove('Service', 'default', 'a');
    expect(t.api.get('Service', 'default', 'a')?.metadata.deletionTimestamp).toBeDefined();
    await t.client.send(
      'PATCH',
      '/api/v1/namespaces/default/services/a',
      { metadata: { finalizers: null } },
      'application/merge-patch+json',
    );
    expect(t.api.get('Service', 'default', 'a')).toBeUndefined();
  });

  it('deletes a selected collection', async () => {
    await using t = await start();
    for (const [name, x] of [
      ['a', '1'],
      ['b', '2'],
      ['c', '1'],
    ] as const)
      t.api.apply(service(name, { labels: { x } }));
    await t.client.send('DELETE', '/api/v1/namespaces/default/services?labelSelector=x%3D1');
    expect(t.api.list('Service').map((object) => object.metadata.name)).toEqual(['b']);
  });

  it('keeps a status that an applied manifest does not speak of', async () => {
    await using t = await start();
    const route = { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute', metadata: { name: 'r' } };
    t.api.apply({ ...route, status: { parents: [] } });
    expect(t.api.apply({ ...route, spec: { hostnames: ['a.example'] } })).toMatchObject({
      metadata: { generation: 2 },
      spec: { hostnames: ['a.example'] },
      status: { parents: [] },
    });
    expect(t.api.apply({ ...route, status: { parents: [1] } })).toMatchObject({ status: { parents: [1] } });
  });

  it('serves kinds that are registered later, and none that are removed', async () => {
    await using t = await start({ kinds: builtinKinds.filter((kind) => kind.group === '') });
    expect((await t.client.get('/apis/x.io/v1/things')).status).toBe(404);
    t.api.kinds.add(customKind({ group: 'x.io', versions: ['v1'], kind: 'Thing', plural: 'things' }));
    t.api.apply({ apiVersion: 'x.io/v1', kind: 'Thing', metadata: { name: 't' } });
    expect((await t.client.get('/apis/x.io/v1/things')).names).toEqual(['t']);
    t.api.kinds.remove('x.io', 'things');
    expect((await t.client.get('/apis/x.io/v1/things')).status).toBe(404);
  });

  it('describes itself', async () => {
    await using t = await start();
    expect((await t.client.get('/api')).body).toMatchObject({ kind: 'APIVersions', versions: ['v1'] });
    expect((await t.client.get('/apis/discovery.k8s.io/v1')).body).toMatchObject({
      kind: 'APIResourceList',
      resources: [{ name: 'endpointslices', kind: 'EndpointSlice', namespaced: true }],
    });
    expect((await t.client.get('/apis/networking.istio.io')).body).toMatchObject({
      preferredVersion: { version: 'v1' },
    });
    expect((await t.client.get('/version')).body).toMatchObject({ major: '1' });
    expect((await t.client.get('/readyz')).text).toBe('ok');
  });

  it('answers in the type that the client accepts', async () => {
    await using t = await start();
    t.api.apply(service('a'));
    const path = '/api/v1/services';
    const accept = async (type: string) => t.client.get(path, { accept: type });
    expect((await accept('application/vnd.kubernetes.protobuf')).body).toMatchObject({ code: 406 });
    expect((await accept('application/vnd.kubernetes.protobuf,application/json')).names).toEqual(['a']);
    expect((await accept('application/yaml')).text).toMatch(/^kind: ServiceList/);
    const partial = await accept('application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io');
    expect(partial.body).toMatchObject({
      kind: 'PartialObjectMetadataList',
      items: [{ kind: 'PartialObjectMetadata', metadata: { name: 'a' } }],
    });
    expect(partial.body.items?.[0]?.spec).toBeUndefined();
  });

  it('records what was asked', async () => {
    await using t = await start();
    await t.client.get('/api/v1/namespaces/n/pods?labelSelector=a%3Db');
    await t.client.get('/api/v1/namespaces/n/pods/p');
    expect(
      t.api.requests.map(({ info, status, query }) => [info?.verb, info?.resource, info?.namespace, status, query]),
    ).toEqual([
      ['list', 'pods', 'n', 200, { labelSelector: 'a=b' }],
      ['get', 'pods', 'n', 404, {}],
    ]);
    t.api.clearRequests();
    expect(t.api.requests).toEqual([]);
  });
});
