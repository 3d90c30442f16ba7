import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import {
  type CertificateFiles,
  istioGateway,
  makeCertificate,
  tlsSecret,
  toService,
  virtualService,
} from '../harness/gateway-objects.ts';
import { startKubeApi } from '../harness/kube.ts';
import { clusterObjects, writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { labServices } from '../harness/services.ts';

const API = 'gateway.networking.k8s.io/v1';

describe.each(['apiserver', 'metaserver'] as const)('a gateway that learns from a %s', (kind) => {
  let mesh: Mesh;
  let gateway: MeshAgent;
  let folder: string;
  let first: CertificateFiles;
  let second: CertificateFiles;

  const ask = (ca: CertificateFiles) => {
    const address = gateway.machine.address();
    const resolve = ['--resolve', `hello.test:443:${address}`, '--cacert', ca.certFile];
    return curl(mesh.host('client'), 'https://hello.test/', ...resolve);
  };

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: { gw: { lan: 'home' }, web: { lan: 'home' }, client: { lan: 'home' }, api: { lan: 'home' } },
    });
    folder = `${mesh.folder}/cluster`;
    first = await makeCertificate(mesh.host('client'), mesh.folder, 'first', ['hello.test']);
    second = await makeCertificate(mesh.host('client'), mesh.folder, 'second', ['hello.test']);
    await mesh.backend('web');
    const server = {
      port: { number: 443, name: 'https', protocol: 'HTTPS' },
      hosts: ['hello.test'],
      tls: { mode: 'SIMPLE', credentialName: 'edge-tls' },
    };
    await writeManifests(folder, {
      ...Object.fromEntries(labServices(['web']).map((plan) => [plan.name, clusterObjects(plan)])),
      istio: [istioGateway('edge', [server]), virtualService('hello', ['hello.test'], ['edge'], toService('hello'))],
      secret: [tlsSecret('edge-tls', first)],
      k8s: [
        {
          apiVersion: API,
          kind: 'GatewayClass',
          metadata: { name: 'edgemesh' },
          spec: { controllerName: 'edgemesh.kubeedge.io/gateway' },
        },
        {
          apiVersion: API,
          kind: 'Gateway',
          metadata: { name: 'k8s', namespace: 'default' },
          spec: { gatewayClassName: 'edgemesh', listeners: [{ name: 'http', port: 8088, protocol: 'HTTP' }] },
        },
        {
          apiVersion: API,
          kind: 'HTTPRoute',
          metadata: { name: 'k8s', namespace: 'default' },
          spec: { parentRefs: [{ name: 'k8s' }], rules: [{ backendRefs: [{ name: 'hello', port: 80 }] }] },
        },
      ],
    });
    const api = await startKubeApi(mesh.host('api'), folder, kind);
    const kubeAPIConfig = kind === 'apiserver' ? { master: api.url } : { metaServer: { server: api.url } };
    const options = { kubernetes: true, config: { kubeAPIConfig } };
    const modules = { edgeDNS: { enable: false }, edgeProxy: { enable: false }, edgeGateway: { enable: true } };
    [gateway] = await Promise.all([mesh.agent('gw', { ...options, modules }), mesh.agent('web', options)]);
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('takes Gateways, routes and the Secret that they name from there', async () => {
    await expect
      .poll(async () => (await ask(first)).body, { timeout: 60_000, interval: 500 })
      .toContain('hello from web');
  });

  it('takes a changed Secret for new connections', async () => {
    await writeManifests(folder, { secret: [tlsSecret('edge-tls', second)] });
    await expect
      .poll(async () => (await ask(second)).body, { timeout: 90_000, interval: 500 })
      .toContain('hello from web');
  }, 100_000);

  // A metaServer knows nothing of the Gateway API.
  if (kind === 'metaserver') return;

  it('reads the Gateway API', async () => {
    const url = `http://${gateway.machine.address()}:8088/`;
    await expect
      .poll(async () => (await curl(mesh.host('client'), url)).body, { timeout: 20_000 })
      .toContain('hello from web');
  });
});
