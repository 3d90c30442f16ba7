import { readFile } from 'node:fs/promises';
import { createKubeApi, type KubeApi } from '@edgemesh/testkit/kube';
import { afterEach, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { createDiscovery } from '../catalog/index.ts';
import {
  CORE_RESOURCES,
  createKubernetesSource,
  createStatusWriter,
  GATEWAY_API_RESOURCES,
  INGRESS_RESOURCES,
  ISTIO_RESOURCES,
  PODS,
  type ResourceSpec,
} from './index.ts';
import { until } from './test-until.ts';

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

const USER = 'system:anonymous';
const POLICIES: ResourceSpec = {
  group: 'networking.k8s.io',
  versions: ['v1'],
  plural: 'networkpolicies',
  kind: 'NetworkPolicy',
  namespaced: true,
};
const object = (apiVersion: string, kind: string, name: string, more: object = {}) => ({
  apiVersion,
  kind,
  metadata: { namespace: 'shop', name },
  ...more,
});

interface Role {
  readonly kind: 'Role' | 'ClusterRole';
  readonly metadata: { readonly namespace?: string };
  readonly rules: readonly { readonly apiGroups: string[]; readonly resources: string[]; readonly verbs: string[] }[];
}

/** An API that lets nobody do more than these manifests say. */
async function startApi(...files: readonly string[]) {
  const api = stack.use(await createKubeApi());
  const texts = await Promise.all(
    files.map((file) => readFile(new URL(`../../../../manifests/${file}`, import.meta.url), 'utf8')),
  );
  const roles = texts.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as Role));
  const rules = roles.flatMap(({ kind, metadata, rules: own }) =>
    own.map(({ apiGroups: groups, resources, verbs }) => ({
      groups,
      resources,
      verbs,
      ...(kind === 'Role' && { namespaces: [metadata.namespace ?? ''] }),
    })),
  );
  api.access.allowOnly(USER, rules);
  return api;
}
const refusals = ({ requests }: KubeApi) =>
  requests.filter(({ status }) => status === 403).map(({ method, path }) => `${method} ${path}`);

describe('the roles of the manifests', () => {
  it('are enough for an agent with the pod network', async () => {
    const api = await startApi('agent/rbac.yaml');
    api.apply(object('v1', 'Pod', 'p'));
    const source = createKubernetesSource({
      mode: 'apiserver',
      connection: { server: api.url },
      resources: [...CORE_RESOURCES, ...ISTIO_RESOURCES, PODS, POLICIES],
    });
    const discovery = stack.use(await createDiscovery({ sources: [source] }));
    await discovery.whenSynced(AbortSignal.timeout(10_000));
    await api.watching({ resource: 'networkpolicies' });
    expect(discovery.current.objects.get('Pod')?.size).toBe(1);
    expect(refusals(api)).toEqual([]);
  });

  it('are enough for a gateway, its Secrets and its statuses', async () => {
    const api = await startApi('gateway/rbac.yaml');
    for (const [version, kind] of [
      ['v1', 'Secret'],
      ['v1', 'ConfigMap'],
      ['v1', 'Pod'],
    ] as const)
      api.apply(object(version, kind, 'x'));
    const written = [
      ['gateway.networking.k8s.io/v1', 'Gateway'],
      ['gateway.networking.k8s.io/v1', 'HTTPRoute'],
      ['gateway.networking.k8s.io/v1', 'GRPCRoute'],
      ['gateway.networking.k8s.io/v1alpha2', 'TLSRoute'],
      ['gateway.networking.k8s.io/v1alpha2', 'TCPRoute'],
      ['gateway.networking.k8s.io/v1alpha2', 'UDPRoute'],
      ['gateway.networking.k8s.io/v1', 'BackendTLSPolicy'],
      ['networking.k8s.io/v1', 'Ingress'],
    ] as const;
    for (const [version, kind] of written) api.apply(object(version, kind, 'x'));
    const gatewayClass = { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass', metadata: { name: 'x' } };
    api.apply(gatewayClass);
    const connection = { server: api.url };
    const resources = [...GATEWAY_API_RESOURCES, ...INGRESS_RESOURCES];
    const source = createKubernetesSource({
      mode: 'apiserver',
      connection,
      resources: [...CORE_RESOURCES, ...ISTIO_RESOURCES, ...resources],
    });
    const discovery = stack.use(await createDiscovery({ sources: [source] }));
    source.follow([
      { kind: 'Secret', namespace: 'shop', name: 'x' },
      { kind: 'ConfigMap', namespace: 'shop', name: 'x' },
      { kind: 'Pod', namespace: 'shop' },
    ]);
    await until(discovery, ({ objects }) =>
      ['Secret', 'ConfigMap', 'Pod', 'Ingress.networking.k8s.io'].every((kind) => objects.has(kind)),
    );
    const writer = stack.use(
      createStatusWriter({
        connection,
        node: 'a',
        namespace: 'kubeedge',
        topic: 'gateway',
        controllerName: 'x',
        resources,
        delayMs: 1,
        pauseMs: 1,
      }),
    );
    const statuses = [
      ...written.map(([apiVersion, kind]) => ({ apiVersion, kind, namespace: 'shop', name: 'x', status: { a: 1 } })),
      { apiVersion: gatewayClass.apiVersion, kind: 'GatewayClass', name: 'x', status: { a: 1 } },
    ];
    writer.publish({ report: 'r', render: () => statuses });
    await expect
      .poll(() => api.requests.filter(({ path, status }) => path.endsWith('/status') && status === 200).length, {
        timeout: 5_000,
      })
      .toBe(9);
    await writer[Symbol.asyncDispose]();
    expect(api.list('Lease')).toEqual([]);
    expect(refusals(api)).toEqual([]);
  });
});
