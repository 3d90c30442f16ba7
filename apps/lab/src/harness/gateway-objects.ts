import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LabMachine } from '@edgemesh/testkit/netns';
import { POD_IP } from './mesh.ts';

/** A certificate with its key, PEM, and where they are on disk. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** Makes a certificate for names, signed by itself or by a CA. */
export async function makeCertificate(
  machine: LabMachine,
  folder: string,
  id: string,
  names: readonly string[],
  ca?: CertificateFiles,
): Promise<CertificateFiles> {
  const [certFile, keyFile] = [join(folder, `${id}.crt`), join(folder, `${id}.key`)];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile];
  const subject = ['-subj', `/CN=${names[0]}`, '-addext', `subjectAltName=${names.map((n) => `DNS:${n}`).join()}`];
  const issuer = ca === undefined ? [] : ['-CA', ca.certFile, '-CAkey', ca.keyFile];
  await machine.must('openssl', ['req', '-x509', ...curve, ...subject, '-days', '2', ...issuer, '-out', certFile]);
  const [cert, key] = [await readFile(certFile, 'utf8'), await readFile(keyFile, 'utf8')];
  return { cert, key, certFile, keyFile };
}

/** A Secret as kubectl makes it of a certificate. */
export function tlsSecret(name: string, { cert, key }: CertificateFiles, ca?: CertificateFiles): object {
  const values = { 'tls.crt': cert, 'tls.key': key, ...(ca && { 'ca.crt': ca.cert }) };
  const data = Object.fromEntries(Object.entries(values).map(([k, v]) => [k, Buffer.from(v).toString('base64')]));
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'kubernetes.io/tls',
    metadata: { name, namespace: 'default' },
    data,
  };
}

/** An Istio Gateway as the original's guide writes it. */
export function istioGateway(name: string, servers: readonly object[]): object {
  return {
    apiVersion: 'networking.istio.io/v1alpha3',
    kind: 'Gateway',
    metadata: { name, namespace: 'default' },
    spec: { selector: { kubeedge: 'edgemesh-gateway' }, servers },
  };
}

/** A VirtualService of some hosts. */
export function virtualService(
  name: string,
  hosts: readonly string[],
  gateways: readonly string[],
  spec: object,
): object {
  return {
    apiVersion: 'networking.istio.io/v1alpha3',
    kind: 'VirtualService',
    metadata: { name, namespace: 'default' },
    spec: { hosts, gateways, ...spec },
  };
}

/** A route of everything to one Service. */
export const toService = (host: string, port?: number) => ({
  http: [{ route: [{ destination: { host, ...(port !== undefined && { port: { number: port } }) } }] }],
});

/** The GatewayClass that this mesh serves, of the Kubernetes Gateway API. */
export const GATEWAY_CLASS = {
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'GatewayClass',
  metadata: { name: 'edgemesh' },
  spec: { controllerName: 'edgemesh.kubeedge.io/gateway' },
};

/** A Gateway of that class. */
export function k8sGateway(name: string, listeners: readonly object[]): object {
  const { apiVersion, metadata } = GATEWAY_CLASS;
  const spec = { gatewayClassName: metadata.name, listeners };
  return { apiVersion, kind: 'Gateway', metadata: { name, namespace: 'default' }, spec };
}

/** An HTTPRoute of that Gateway. */
export function httpRoute(gateway: string, ...rules: readonly object[]): object {
  return {
    apiVersion: GATEWAY_CLASS.apiVersion,
    kind: 'HTTPRoute',
    metadata: { name: gateway, namespace: 'default' },
    spec: { parentRefs: [{ name: gateway }], rules },
  };
}

/**
 * A Service whose Pods differ by a label, one per node; requests go to the first version, those with `x-canary` and all TCP
 * connections to the last. For a Gateway `edge` with an HTTP server for `<name>.test` and a TCP server.
 */
export function labelledPods(
  name: string,
  clusterIP: string,
  versions: Readonly<Record<string, string>>,
): Record<string, object[]> {
  const metadata = { name, namespace: 'default' };
  const ports = [
    { name: 'http', port: 80, targetPort: 8080 },
    { name: 'tcp', port: 7, targetPort: 7000 },
  ];
  const nodes = Object.entries(versions);
  const pods = nodes.map(([version, node]) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `${name}-${version}`, namespace: 'default', labels: { app: name, version } },
    spec: { nodeName: node, containers: [{ name: 'web' }] },
    status: { phase: 'Running', podIP: POD_IP },
  }));
  const targetOf = (version: string) => ({
    targetRef: { kind: 'Pod', namespace: 'default', name: `${name}-${version}`, uid: version },
    nodeName: versions[version],
  });
  const destination = (subset: string | undefined, number: number) => ({
    destination: { host: name, subset, port: { number } },
  });
  const [first, last] = [nodes[0]?.[0], nodes.at(-1)?.[0]];
  return {
    [name]: [
      ...pods,
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata,
        spec: { clusterIP, clusterIPs: [clusterIP], selector: { app: name }, ports },
      },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
        addressType: 'IPv4',
        ports: ports.map((port) => ({ name: port.name, port: port.targetPort })),
        endpoints: nodes.map(([version]) => ({
          addresses: [POD_IP],
          conditions: { ready: true },
          ...targetOf(version),
        })),
      },
      {
        apiVersion: 'v1',
        kind: 'Endpoints',
        metadata,
        subsets: [
          {
            addresses: nodes.map(([version]) => ({ ip: POD_IP, ...targetOf(version) })),
            ports: ports.map((port) => ({ name: port.name, port: port.targetPort })),
          },
        ],
      },
      {
        apiVersion: 'networking.istio.io/v1alpha3',
        kind: 'DestinationRule',
        metadata,
        spec: { host: name, subsets: nodes.map(([version]) => ({ name: version, labels: { version } })) },
      },
      virtualService(name, [`${name}.test`], ['edge'], {
        http: [
          { match: [{ headers: { 'x-canary': { exact: '1' } } }], route: [destination(last, 80)] },
          { route: [destination(first, 80)] },
        ],
      }),
      virtualService(`${name}-tcp`, ['*'], ['edge'], { tcp: [{ route: [destination(last, 7)] }] }),
    ],
  };
}
