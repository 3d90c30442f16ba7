import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { LabMachine } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, tcpExchange, udpExchange } from '../harness/clients.ts';
import {
  type CertificateFiles,
  GATEWAY_CLASS,
  httpRoute,
  istioGateway,
  k8sGateway,
  makeCertificate,
  tlsSecret,
  toService,
  virtualService,
} from '../harness/gateway-objects.ts';
import { callGrpc, startGrpcServer } from '../harness/grpc.ts';
import { writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent, type Status } from '../harness/mesh.ts';
import { labServices } from '../harness/services.ts';

/** Megabytes of the upload that must not show in the agent's memory. */
const UPLOAD_MB = Number(process.env.EDGEMESH_LAB_UPLOAD_MB ?? '200');
const HTTP = 80;
const HTTPS = 443;
const MTLS = 8443;
const HOSTS = ['hello.test', 'grpc.test', 'mtls.test', 'two.test'];

/** What the gateway says of itself. */
interface GatewayDetails {
  readonly ports: readonly { readonly id: string; readonly listeners: readonly { readonly state: string }[] }[];
  readonly conditions: readonly unknown[];
}
const gatewayOf = ({ details }: Status) => details?.gateway as GatewayDetails | undefined;

describe('a gateway on a cloud node, pods on an edge behind NAT', () => {
  let mesh: Mesh;
  let cloud: MeshAgent;
  let edge: MeshAgent;
  let client: LabMachine;
  let first: CertificateFiles;
  let second: CertificateFiles;
  let ca: CertificateFiles;
  let user: CertificateFiles;
  let address = '';
  let objects: readonly object[];

  const server = (port: number, protocol: string, hosts: readonly string[], tls?: object) => ({
    port: { number: port, name: `${protocol.toLowerCase()}-${port}`, protocol },
    hosts,
    ...(tls && { tls }),
  });

  /** `curl` from outside, by name. */
  const ask = (url: string, ...more: string[]) =>
    curl(
      client,
      url,
      ...HOSTS.flatMap((host) => [HTTP, HTTPS, MTLS].flatMap((port) => ['--resolve', `${host}:${port}:${address}`])),
      ...more,
    );

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: {
        cloud: { lan: ['internet', 'office'] },
        edge: { lan: 'home' },
        client: { lan: 'internet' },
        inside: { lan: 'office' },
        server: { lan: 'internet' },
      },
      routers: { nat: { lan: 'home' } },
    });
    client = mesh.host('client');
    address = mesh.host('cloud').address('internet');
    const folder = mesh.folder;
    ca = await makeCertificate(client, folder, 'ca', ['ca.test']);
    first = await makeCertificate(client, folder, 'first', HOSTS, ca);
    second = await makeCertificate(client, folder, 'second', HOSTS, ca);
    user = await makeCertificate(client, folder, 'user', ['user'], ca);
    await mesh.server('server');
    await mesh.backend('edge');
    await Promise.all(
      ['172.17.0.2', '172.17.0.3'].map((pod, i) => startGrpcServer(mesh.host('edge'), `pod-${i}`, pod)),
    );
    const services = [
      ...labServices(['edge']),
      {
        name: 'grpc',
        clusterIP: '10.96.0.20',
        ports: [{ name: 'grpc', port: 9000 }],
        endpoints: [
          { address: '172.17.0.2', node: 'edge' },
          { address: '172.17.0.3', node: 'edge' },
        ],
      },
    ];
    objects = [
      istioGateway('edge', [
        server(HTTP, 'HTTP', ['hello.test', 'grpc.test']),
        server(HTTPS, 'HTTPS', ['hello.test', 'grpc.test'], { mode: 'SIMPLE', credentialName: 'edge-tls' }),
        server(MTLS, 'HTTPS', ['mtls.test'], { mode: 'MUTUAL', credentialName: 'edge-mtls' }),
        server(9007, 'TCP', ['*']),
      ]),
      istioGateway('second', [server(HTTP, 'HTTP', ['two.test'])]),
      virtualService('hello', ['hello.test', 'mtls.test'], ['edge'], toService('hello.default.svc.cluster.local', 80)),
      virtualService('grpc', ['grpc.test'], ['edge'], toService('grpc')),
      virtualService('echo', ['*'], ['edge'], { tcp: [{ route: [{ destination: { host: 'echo' } }] }] }),
      virtualService('two', ['two.test'], ['second'], {
        http: [
          {
            match: [{ uri: { prefix: '/' } }],
            headers: { response: { set: { 'x-gateway': 'second' } } },
            route: [{ destination: { host: 'hello' } }],
          },
        ],
      }),
      GATEWAY_CLASS,
      k8sGateway('k8s', [
        { name: 'http', port: 8088, protocol: 'HTTP' },
        { name: 'udp', port: 9008, protocol: 'UDP' },
      ]),
      httpRoute('k8s', {
        matches: [{ path: { type: 'PathPrefix', value: '/api' } }],
        filters: [
          { type: 'URLRewrite', urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' } } },
        ],
        backendRefs: [{ name: 'hello', port: 80 }],
      }),
      {
        apiVersion: 'gateway.networking.k8s.io/v1alpha2',
        kind: 'UDPRoute',
        metadata: { name: 'k8s', namespace: 'default' },
        spec: { parentRefs: [{ name: 'k8s' }], rules: [{ backendRefs: [{ name: 'udp-echo', port: 7 }] }] },
      },
      tlsSecret('edge-mtls', first, ca),
    ];
    const relays = [mesh.host('server').address()];
    [cloud, edge] = await Promise.all([
      mesh.agent('cloud', {
        services,
        objects: [...objects, tlsSecret('edge-tls', first)],
        relays,
        modules: {
          edgeDNS: { enable: false },
          edgeProxy: { enable: false },
          edgeGateway: { enable: true, nic: 'eth0,lo', includeIP: '*', excludeIP: '127.0.0.0/8' },
        },
        config: {
          apiVersion: 'gateway.edgemesh.config.kubeedge.io/v1alpha1',
          kind: 'EdgeMeshGateway',
          commonConfig: { logLevel: 'info' },
        },
      }),
      mesh.agent('edge', { services, relays, config: { commonConfig: { logLevel: 'info' } } }),
    ]);
    // The folder of manifests may be read after the gateway has started.
    await cloud.until('gateway is open', (status) => {
      const states = gatewayOf(status)?.ports.flatMap(({ listeners }) => listeners.map(({ state }) => state)) ?? [];
      return states.length > 0 && states.every((state) => state === 'open');
    });
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('answers HTTP/1.1 and HTTP/2 without TLS, and 404 for hosts that nobody named', async () => {
    const h1 = await ask('http://hello.test/');
    expect([h1.status, h1.body, h1.stderr]).toEqual([200, expect.stringContaining('hello from edge'), '']);
    const h2 = await ask('http://hello.test/', '--http2-prior-knowledge');
    expect([h2.status, h2.body]).toEqual([200, expect.stringContaining('hello from edge')]);
    expect((await ask(`http://${address}/`)).status).toBe(404);
  });

  it('terminates TLS with both versions of HTTP', async () => {
    for (const version of ['--http1.1', '--http2']) {
      const answer = await ask('https://hello.test/', version, '--cacert', ca.certFile);
      expect([answer.status, answer.body, answer.stderr]).toEqual([
        200,
        expect.stringContaining('hello from edge'),
        '',
      ]);
    }
    const old = await ask(
      'https://hello.test/',
      '--tls-max',
      '1.1',
      '--ciphers',
      'DEFAULT:@SECLEVEL=0',
      '--cacert',
      ca.certFile,
    );
    expect(old.code).not.toBe(0);
  });

  it('asks for client certificates where a server is MUTUAL', async () => {
    const url = `https://mtls.test:${MTLS}/`;
    const identity = ['--cert', user.certFile, '--key', user.keyFile];
    expect((await ask(url, '--cacert', ca.certFile, ...identity)).status).toBe(200);
    expect((await ask(url, '--cacert', ca.certFile)).code).not.toBe(0);
  });

  it('routes each request of one connection by itself: two hosts, two Services, two Gateways', async () => {
    const resolve = HOSTS.flatMap((host) => ['--resolve', `${host}:${HTTP}:${address}`]);
    const format = ['-w', '%{num_connects} %header{x-gateway}\\n', '-o', '/dev/null'];
    const headers = ['http://hello.test/', 'http://two.test/'].flatMap((url, i) => [
      ...(i > 0 ? ['--next'] : []),
      '-sS',
      ...resolve,
      ...format,
      '--connect-to',
      `::${address}:${HTTP}`,
      url,
    ]);
    const { stdout, stderr } = await client.exec('curl', headers);
    expect(stderr).toBe('');
    // curl keeps connections by name; one raw connection shows the same without its help.
    expect(stdout.trim().split('\n')[1]).toContain('second');
    const raw = ['hello.test', 'two.test', 'nobody.test']
      .map((host) => `GET / HTTP/1.1\r\nHost: ${host}\r\n${host === 'nobody.test' ? 'Connection: close\r\n' : ''}\r\n`)
      .join('');
    const script = `const s = require('node:net').connect(${HTTP}, '${address}', () => s.write(${JSON.stringify(raw)})); s.pipe(process.stdout);`;
    const answers = await client.exec(process.execPath, ['-e', script], { timeoutMs: 20_000 });
    const seen = [...answers.stdout.matchAll(/HTTP\/1.1 (\d+)|(x-gateway): second/gi)].map((m) => m[1] ?? m[2]);
    expect(seen).toEqual(['200', '200', 'x-gateway', '404']);
  });

  it('carries WebSockets', async () => {
    const plain = await webSocketByAddress(client, address, 'hello.test');
    expect(plain).toEqual([expect.stringContaining('hello from edge'), 'ping']);
  });

  it.each([
    ['without TLS', HTTP, () => []],
    ['over TLS', HTTPS, () => [ca.certFile]],
  ] as const)('carries gRPC %s, call by call to both pods', async (_, port, more) => {
    const report = await callGrpc(client, `${address}:${port}`, 'grpc.test', ...more());
    expect(report).toMatchObject({
      unary: {
        text: expect.stringMatching(/^hello from pod-/),
        header: expect.stringMatching(/ saw jo$/),
        trailer: 'bye',
      },
      stream: Array.from({ length: 20 }, (__, i) => i),
      chat: ['ONE', 'TWO', 'THREE'],
      deadline: { code: 4 },
      cancelled: true,
      failure: { code: 9, details: 'not today, ü %', trailer: 'why' },
      unknownMethod: { code: 12 },
    });
    // One channel, one connection: a balancer of connections would have one pod answer all.
    expect(Object.keys(report.share).sort()).toEqual(['pod-0', 'pod-1']);
    expect(Math.min(...Object.values(report.share))).toBeGreaterThanOrEqual(10);
  });

  it('serves nghttp and h2load without a failed request', async () => {
    const nghttp = await client.exec('nghttp', ['-v', '-H', ':authority: hello.test', `http://${address}/`]);
    expect(nghttp.stdout).toContain(':status: 200');
    const load = await client.exec(
      'h2load',
      ['-n', '2000', '-c', '4', '-m', '10', '-H', ':authority: hello.test', `https://${address}/`],
      { timeoutMs: 60_000 },
    );
    expect(load.stdout).toMatch(/2000 succeeded, 0 failed, 0 errored, 0 timeout/);
    expect(load.stdout).toMatch(/status codes: 2000 2xx/);
  });

  it('passes TCP and UDP, and routes of the Gateway API', async () => {
    expect(await tcpExchange(client, address, 9007, 'one two')).toContain('one two');
    const answers = await udpExchange(client, address, 9008, [1, 1_400]);
    expect(answers.every((line) => line.startsWith('intact'))).toBe(true);
    expect(await curl(client, `http://${address}:8088/api/bytes/10`)).toMatchObject({
      status: 200,
      body: 'e'.repeat(10),
    });
    expect((await curl(client, `http://${address}:8088/apiary`)).status).toBe(404);
  });

  it('is reached on the chosen interface and on no other', async () => {
    const office = mesh.host('cloud').address('office');
    const refused = await curl(mesh.host('inside'), `http://${office}/`, '-H', 'Host: hello.test');
    expect([refused.code, refused.stderr]).toEqual([7, expect.any(String)]);
    await mesh.host('cloud').must('ip', ['addr', 'add', `${sibling(address)}/32`, 'dev', 'eth0']);
    await client.must('ip', ['route', 'add', `${sibling(address)}/32`, 'via', address]);
    const later = async () => (await curl(client, `http://${sibling(address)}/`, '-H', 'Host: hello.test')).status;
    await expect.poll(later, { timeout: 10_000, interval: 500 }).toBe(200);
  });

  it('rotates the certificate under load: no request fails, new connections see the new one', async () => {
    const print = async () => {
      const { stdout } = await client.exec('sh', [
        '-c',
        `openssl s_client -connect ${address}:${HTTPS} -servername hello.test </dev/null 2>/dev/null | openssl x509 -noout -serial`,
      ]);
      return stdout.trim();
    };
    const before = await print();
    const load = client.exec(
      'h2load',
      ['-D', '6', '-c', '4', '-m', '4', '--rps', '100', '-H', ':authority: hello.test', `https://${address}/`],
      { timeoutMs: 60_000 },
    );
    await delay(1_500);
    await writeManifests(cloud.manifestDir, { objects: [...objects, tlsSecret('edge-tls', second)] });
    await expect.poll(print, { timeout: 10_000, interval: 500 }).not.toBe(before);
    const { stdout } = await load;
    expect(stdout).toMatch(/, 0 failed, 0 errored, 0 timeout/);
    expect((await ask('https://hello.test/', '--cacert', ca.certFile)).status).toBe(200);
  });

  it(`takes an upload of ${UPLOAD_MB} MB with flat memory`, async () => {
    const file = join(mesh.folder, 'upload');
    await client.must('sh', ['-c', `head -c ${UPLOAD_MB * 1_000_000} /dev/zero > ${file}`]);
    const rss = async (agent: MeshAgent) => {
      const text = await agent.machine.must('cat', [`/proc/${agent.process.pid}/status`]);
      return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1]) / 1024;
    };
    const before = await rss(cloud);
    let highest = before;
    const done = ask(
      'http://hello.test/sha256',
      '--max-time',
      '120',
      '-T',
      file,
      '-X',
      'POST',
      '-H',
      'Expect:',
    ).finally(() => {
      finished = true;
    });
    let finished = false;
    while (!finished) {
      highest = Math.max(highest, await rss(cloud));
      await delay(200);
    }
    const answer = await done;
    const { stdout } = await client.exec('sha256sum', [file], { timeoutMs: 60_000 });
    expect(answer.body).toBe(stdout.split(' ')[0]);
    await writeFile(file, '');
    console.log(`agent: ${Math.round(before)} MB before, ${Math.round(highest)} MB at most`);
    expect(highest - before).toBeLessThan(120);
  }, 150_000);

  it('says in its status what it does and what it does not', async () => {
    const { ports, conditions } = gatewayOf(await cloud.status()) as GatewayDetails;
    expect(ports.map(({ id }) => id).sort()).toEqual([
      'TCP 443',
      'TCP 80',
      'TCP 8088',
      'TCP 8443',
      'TCP 9007',
      'UDP 9008',
    ]);
    expect(ports.every(({ listeners }) => listeners.every(({ state }) => state === 'open'))).toBe(true);
    expect(conditions).toEqual([]);
    await edge.until('no stream left', (s) => s.peers.every((p) => p.streams < 100));
  });
});

/** A free address of the same network: hosts are numbered from .10 upwards. */
function sibling(address: string): string {
  return address.replace(/\d+$/, '200');
}

/** A WebSocket by hand: the host in the request is not the address that is dialled. */
async function webSocketByAddress(machine: LabMachine, address: string, host: string): Promise<string[]> {
  const script = `
    const WebSocket = require('${createRequire(import.meta.url).resolve('ws')}');
    const socket = new WebSocket('ws://${address}/', { headers: { host: '${host}' } });
    const seen = [];
    socket.on('message', (data) => { seen.push(String(data)); if (seen.length === 1) socket.send('ping'); else socket.close(); });
    socket.on('close', () => console.log(JSON.stringify(seen)));
    socket.on('error', (error) => console.error(error.message));`;
  const { stdout, stderr } = await machine.exec(process.execPath, ['-e', script], { timeoutMs: 20_000 });
  if (stdout.trim() === '') throw new Error(`no WebSocket exchange: ${stderr}`);
  return JSON.parse(stdout) as string[];
}
