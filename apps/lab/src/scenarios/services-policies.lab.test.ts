import { writeFile } from 'node:fs/promises';
import { type LabMachine, type LabProcess, startResponder, tally } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, tcpExchange } from '../harness/clients.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { clusterIP, type EndpointSpec, makeNode, makeService } from '../harness/objects.ts';
import { preparePods, startPod } from '../harness/pods.ts';

const PORTS = [{ name: 'tcp', port: 7, targetPort: 7000 }];
const on = (node: string): EndpointSpec => ({ node, address: '172.17.0.2' });
const ZONES = { a: 'near', b: 'near', c: 'far' } as const;
const GROUPS = { a: 'shop', b: 'depot', c: 'shop' } as const;
const NAMES = ['a', 'b', 'c'] as const;
const labelsOf = (node: (typeof NAMES)[number]) => ({
  'topology.kubernetes.io/zone': ZONES[node],
  'apps.kubeedge.io/belonging-to': GROUPS[node],
});
const ALL = ['a', 'b', 'c'].map(on);
const service = (name: string, last: number, endpoints: readonly EndpointSpec[], spec = {}) =>
  makeService({ name, spec: clusterIP(`10.96.6.${last}`, spec), ports: PORTS, endpoints });
const rule = (name: string, loadBalancer: object) => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'DestinationRule',
  metadata: { name, namespace: 'default' },
  spec: { host: name, trafficPolicy: { loadBalancer } },
});

const objects = [
  ...service('by-source', 1, ALL),
  rule('by-source', { consistentHash: { useSourceIp: true } }),
  ...service('least', 2, ALL),
  rule('least', { simple: 'LEAST_REQUEST' }),
  ...service('unknown', 3, ALL),
  rule('unknown', { simple: 'WHATEVER' }),
  ...service('by-header', 4, ALL),
  rule('by-header', { consistentHash: { httpHeaderName: 'x-user' } }),
  ...service('near', 5, [on('b'), on('c')], { trafficDistribution: 'PreferClose' }),
  ...service('same-node', 6, ALL, { trafficDistribution: 'PreferSameNode' }),
  ...service('any', 7, [on('b'), on('c')]),
  ...service(
    'hinted',
    10,
    NAMES.map((node) => ({ ...on(node), hints: [ZONES[node]] })),
  ),
  ...service(
    'half-hinted',
    11,
    NAMES.map((node) => ({ ...on(node), ...(node !== 'c' && { hints: [ZONES[node]] }) })),
  ),
  ...service(
    'same-zone',
    12,
    NAMES.map((node) => ({ ...on(node), zone: ZONES[node] })),
    { trafficDistribution: 'PreferSameZone' },
  ),
  ...makeService({
    name: 'group',
    annotations: { 'apps.kubeedge.io/service-topology': 'range-nodegroup' },
    spec: clusterIP('10.96.6.13'),
    ports: PORTS,
    endpoints: ALL,
  }),
  ...makeService({
    name: 'mtls',
    spec: clusterIP('10.96.6.8'),
    ports: [{ port: 443, targetPort: 8443 }],
    endpoints: [on('c')],
  }),
  ...makeService({ name: 'iperf', spec: clusterIP('10.96.6.9'), ports: [{ port: 5201 }], endpoints: [on('c')] }),
];

describe('policies: a and b on one LAN, c behind another NAT', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let client: LabMachine;
  const pods = new Map<string, LabMachine>();
  const responders = new Map<string, LabProcess>();

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: { a: { lan: 'home' }, b: { lan: 'home' }, c: { lan: 'office' }, server: { lan: 'internet' } },
      routers: { 'nat-a': { lan: 'home' }, 'nat-c': { lan: 'office' } },
    });
    await mesh.server('server');
    for (const node of ['a', 'b', 'c']) {
      await preparePods(mesh.host(node));
      const pod = await startPod(mesh.host(node), node, '172.17.0.2');
      pods.set(node, pod);
      responders.set(node, await startResponder(pod, { tcp: [7000] }));
    }
    client = await startPod(mesh.host('a'), 'client', '172.17.0.3');
    await startNginx(pods.get('c') as LabMachine, mesh.folder);
    pods.get('c')?.spawn('iperf3', ['-s']);
    const nodes = NAMES.map((name) => makeNode(name, mesh.host(name).address(), { labels: labelsOf(name) }));
    const options = {
      objects: [...nodes, ...objects],
      relays: [mesh.host('server').address()],
      tunnel: { holePunch: 'off' },
    };
    [a] = (await Promise.all(['a', 'b', 'c'].map((name) => mesh.agent(name, options)))) as [MeshAgent];
    await a.until(
      'paths to b and c',
      async (s) => {
        await times('10.96.6.7', 4);
        const path = (node: string) => s.peers.find((peer) => peer.node === node)?.path;
        return path('b') === 'lan' && path('c') === 'relayed';
      },
      20_000,
    );
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const times = (address: string, count: number) => tally(client, { address, port: 7, count, timeoutMs: 3_000 });
  const conditions = async (): Promise<Record<string, string[]>> =>
    JSON.parse(await a.machine.must('curl', ['-sS', 'http://127.0.0.1:10551/status'])).details.proxy.conditions;

  it('sends a source address to one endpoint, and different ones to all', async () => {
    expect(Object.values(await times('10.96.6.1', 12))).toEqual([12]);
    const seen = new Set<string>();
    for (let last = 100; last < 120; last++) {
      const source = `172.17.1.${last}`;
      await client.must('ip', ['addr', 'add', `${source}/16`, 'dev', 'eth0']);
      const ask = async () =>
        (await client.exec('nc', ['-N', '-w', '3', '-s', source, '10.96.6.1', '7'], { input: '' })).stdout.split(
          ' ',
        )[0] as string;
      const name = await ask();
      expect(await ask()).toBe(name);
      seen.add(name);
    }
    expect([...seen].sort()).toEqual(['a', 'b', 'c']);
  });

  it('uses all endpoints with LEAST_REQUEST', async () => {
    expect(Object.keys(await times('10.96.6.2', 30)).sort()).toEqual(['a', 'b', 'c']);
  });

  it('serves a Service whose policy it does not know, or cannot follow, and says so in its status', async () => {
    expect(await times('10.96.6.3', 9)).toEqual({ a: 3, b: 3, c: 3 });
    expect(Object.keys(await times('10.96.6.4', 30)).sort()).toEqual(['a', 'b', 'c']);
    const found = await conditions();
    expect(Object.keys(found).sort()).toEqual(['default/by-header', 'default/unknown']);
    expect(found['default/unknown']?.[0]).toMatch(/unknown value "WHATEVER"/);
    expect(found['default/by-header']?.[0]).toMatch(/header x-user needs HTTP requests/);
  });

  it('stays on the node with PreferSameNode', async () => {
    expect(await times('10.96.6.6', 6)).toEqual({ a: 6 });
  });

  it('stays in the zone where topology hints say so, and uses all while hints are incomplete', async () => {
    expect(await times('10.96.6.10', 8)).toEqual({ a: 4, b: 4 });
    expect(await times('10.96.6.11', 9)).toEqual({ a: 3, b: 3, c: 3 });
  });

  it('stays in the zone with PreferSameZone, without hints too', async () => {
    expect(await times('10.96.6.12', 8)).toEqual({ a: 4, b: 4 });
  });

  it('stays in the node group with range-nodegroup', async () => {
    expect(await times('10.96.6.13', 8)).toEqual({ a: 4, c: 4 });
  });

  it('prefers the LAN over the relay with PreferClose, spills over when it fails, and loses no byte', async () => {
    expect(await times('10.96.6.5', 10)).toEqual({ b: 10 });
    expect(await times('10.96.6.7', 10)).toEqual({ b: 5, c: 5 });
    await responders.get('b')?.kill('SIGKILL');
    expect(await times('10.96.6.5', 10)).toEqual({ c: 10 });
    expect(await times('10.96.6.7', 20)).toEqual({ c: 20 });
    expect(await tcpExchange(client, '10.96.6.5', 7, 'early bytes\n')).toMatch(/^c .*\nearly bytes\n$/);
    responders.set('b', await startResponder(pods.get('b') as LabMachine, { tcp: [7000] }));
  });

  it('carries HTTPS with client certificates to nginx', async () => {
    const files = ['--cacert', `${mesh.folder}/ca.crt`, '--resolve', 'mtls.test:443:10.96.6.8'];
    const without = await curl(client, 'https://mtls.test/', ...files);
    expect(without.status).toBe(400);
    const cert = ['--cert', `${mesh.folder}/client.crt`, '--key', `${mesh.folder}/client.key`];
    const { body, stderr } = await curl(client, 'https://mtls.test/', ...files, ...cert);
    expect({ body, stderr }).toEqual({ body: 'hello CN=client\n', stderr: '' });
  });

  it('carries iperf3 both ways', async () => {
    for (const direction of [[], ['-R']]) {
      const result = JSON.parse(await client.must('iperf3', ['-c', '10.96.6.9', '-t', '1', '-J', ...direction]));
      expect(result.end.sum_received.bits_per_second).toBeGreaterThan(10e6);
    }
  });
});

/** nginx that asks for a certificate of our authority. */
async function startNginx(pod: LabMachine, folder: string): Promise<void> {
  const curve = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1';
  await pod.must('sh', [
    '-ec',
    `cd ${folder}; mkdir -p nginx
     openssl req -x509 ${curve} -keyout ca.key -out ca.crt -subj /CN=lab-ca
     for name in server client; do
       openssl req ${curve} -keyout $name.key -out $name.csr -subj /CN=$name -addext subjectAltName=DNS:mtls.test
       openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -copy_extensions copy -out $name.crt
     done`,
  ]);
  const config = `${folder}/nginx.conf`;
  await writeFile(
    config,
    `daemon off; pid ${folder}/nginx/pid; error_log stderr;
     events {}
     http {
       access_log off;
       client_body_temp_path ${folder}/nginx/body; proxy_temp_path ${folder}/nginx/proxy; fastcgi_temp_path ${folder}/nginx/f;
       uwsgi_temp_path ${folder}/nginx/u; scgi_temp_path ${folder}/nginx/s;
       server {
         listen 172.17.0.2:8443 ssl;
         ssl_certificate ${folder}/server.crt; ssl_certificate_key ${folder}/server.key;
         ssl_client_certificate ${folder}/ca.crt; ssl_verify_client on;
         location / { return 200 "hello $ssl_client_s_dn\\n"; }
       }
     }`,
  );
  pod.spawn('/usr/sbin/nginx', ['-c', config, '-p', `${folder}/nginx`]);
}
