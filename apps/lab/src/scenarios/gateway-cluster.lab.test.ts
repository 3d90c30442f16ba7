import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, tcpExchange } from '../harness/clients.ts';
import {
  type CertificateFiles,
  GATEWAY_CLASS,
  httpRoute,
  istioGateway,
  k8sGateway,
  labelledPods,
  makeCertificate,
  tlsSecret,
  toService,
  virtualService,
} from '../harness/gateway-objects.ts';
import { type KubeProcess, startKubeApi } from '../harness/kube.ts';
import { clusterObjects, writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { labServices } from '../harness/services.ts';

describe.each(['apiserver', 'metaserver'] as const)('a gateway that learns from a %s', (kind) => {
  let mesh: Mesh;
  let gateway: MeshAgent;
  let web: MeshAgent;
  let api: KubeProcess;
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
    await Promise.all([mesh.backend('web'), mesh.backend('gw')]);
    const server = {
      port: { number: 443, name: 'https', protocol: 'HTTPS' },
      hosts: ['hello.test'],
      tls: { mode: 'SIMPLE', credentialName: 'edge-tls' },
    };
    await writeManifests(folder, {
      ...Object.fromEntries(labServices(['web']).map((plan) => [plan.name, clusterObjects(plan)])),
      istio: [
        istioGateway('edge', [
          server,
          { port: { number: 8089, name: 'http', protocol: 'HTTP' }, hosts: ['pods.test'] },
          { port: { number: 9007, name: 'tcp', protocol: 'TCP' }, hosts: ['*'] },
        ]),
        virtualService('hello', ['hello.test'], ['edge'], toService('hello')),
      ],
      ...labelledPods('pods', '10.96.0.30', { stable: 'web', canary: 'gw' }),
      secret: [tlsSecret('edge-tls', first)],
      k8s: [
        GATEWAY_CLASS,
        k8sGateway('k8s', [{ name: 'http', port: 8088, protocol: 'HTTP' }]),
        httpRoute('k8s', { backendRefs: [{ name: 'hello', port: 80 }] }),
        {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'IngressClass',
          metadata: { name: 'edgemesh' },
          spec: { controller: 'edgemesh.kubeedge.io/ingress' },
        },
        {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'Ingress',
          metadata: { name: 'in', namespace: 'default' },
          spec: {
            ingressClassName: 'edgemesh',
            defaultBackend: { service: { name: 'hello', port: { number: 80 } } },
          },
        },
      ],
    });
    api = await startKubeApi(mesh.host('api'), folder, kind);
    const kubeAPIConfig = kind === 'apiserver' ? { master: api.url } : { metaServer: { server: api.url } };
    const options = { kubernetes: true, config: { kubeAPIConfig } };
    const modules = { edgeDNS: { enable: false }, edgeProxy: { enable: false }, edgeGateway: { enable: true } };
    [gateway, web] = (await Promise.all(['gw', 'web'].map((host) => mesh.agent(host, { ...options, modules })))) as [
      MeshAgent,
      MeshAgent,
    ];
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

  it('chooses endpoints by the labels of their Pods, for requests and for connections', async () => {
    const url = `http://${gateway.machine.address()}:8089/`;
    const host = ['-H', 'Host: pods.test'];
    const answers = async (...more: string[]) =>
      (await curl(mesh.host('client'), url, ...host, ...more)).body.replace(/^.*hello from (\w+).*$/s, '$1');
    await expect.poll(() => answers(), { timeout: 60_000, interval: 300 }).toBe('web');
    for (let i = 0; i < 4; i++) {
      expect(await answers()).toBe('web');
      expect(await answers('-H', 'x-canary: 1')).toBe('gw');
      expect(await tcpExchange(mesh.host('client'), gateway.machine.address(), 9007, 'x')).toContain('gw');
    }
  }, 70_000);

  // A metaServer knows nothing of the Gateway API and of Ingresses, and has no statuses to write.
  if (kind === 'metaserver') return;

  it('reads the Gateway API', async () => {
    const url = `http://${gateway.machine.address()}:8088/`;
    await expect
      .poll(async () => (await curl(mesh.host('client'), url)).body, { timeout: 20_000 })
      .toContain('hello from web');
  });

  it('reads Ingresses', async () => {
    const url = `http://${gateway.machine.address()}/`;
    await expect
      .poll(async () => (await curl(mesh.host('client'), url)).body, { timeout: 20_000 })
      .toContain('hello from');
  }, 30_000);

  it('writes statuses of what both nodes serve, and takes back the part of one that leaves', async () => {
    const read = async (path: string) =>
      JSON.parse((await curl(mesh.host('client'), `${api.url}/apis/${path}`)).body).status as Record<string, unknown>;
    const addresses = async () => {
      const status = await read('gateway.networking.k8s.io/v1/namespaces/default/gateways/k8s');
      return (status?.addresses as { value: string }[] | undefined)?.map(({ value }) => value);
    };
    const both = [gateway, web].map(({ machine }) => machine.address()).sort();
    await expect.poll(addresses, { timeout: 30_000 }).toEqual(both);
    expect(await read('gateway.networking.k8s.io/v1/namespaces/default/gateways/k8s')).toMatchObject({
      conditions: [
        { type: 'Accepted', status: 'True', lastTransitionTime: expect.any(String) },
        { type: 'Programmed', status: 'True' },
      ],
      listeners: [{ name: 'http', attachedRoutes: 1 }],
    });
    expect(await read('gateway.networking.k8s.io/v1/gatewayclasses/edgemesh')).toMatchObject({
      conditions: [{ type: 'Accepted', status: 'True' }],
    });
    expect(await read('gateway.networking.k8s.io/v1/namespaces/default/httproutes/k8s')).toMatchObject({
      parents: [{ controllerName: 'edgemesh.kubeedge.io/gateway', parentRef: { name: 'k8s' } }],
    });
    await expect
      .poll(() => read('networking.k8s.io/v1/namespaces/default/ingresses/in'), { timeout: 30_000 })
      .toEqual({ loadBalancer: { ingress: both.map((ip) => ({ ip })) } });
    await web.process.kill();
    await expect.poll(addresses, { timeout: 60_000 }).toEqual([gateway.machine.address()]);
  }, 120_000);
});
