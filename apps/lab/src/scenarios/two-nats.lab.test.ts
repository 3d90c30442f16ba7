import { pollUntil } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, tcpExchange, udpExchange, webSocketExchange } from '../harness/clients.ts';
import { startHttps } from '../harness/https.ts';
import { ADMIN, createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { ECHO, HELLO, labServices, SECURE, UDP_ECHO } from '../harness/services.ts';

const LIE = '10.96.0.99';
const lie = {
  name: 'lie',
  clusterIP: LIE,
  ports: [{ name: 'http', port: 80, targetPort: 10551 }],
  endpoints: [{ address: '127.0.0.1', node: 'b' }],
};

describe('two edges behind different NATs, one public server', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;
  let server: Awaited<ReturnType<Mesh['server']>>;

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: {
        a: { lan: 'home', dns: ['169.254.96.16'] },
        b: { lan: 'office', dns: ['169.254.96.16'] },
        stranger: { lan: 'home' },
        server: { lan: 'internet' },
      },
      routers: { 'nat-a': { lan: 'home' }, 'nat-b': { lan: 'office' } },
    });
    server = await mesh.server('server');
    await mesh.backend('b');
    await startHttps(mesh.host('b'), mesh.folder);
    const services = labServices(['b']);
    const relays = [mesh.host('server').address()];
    const tunnel = { holePunch: 'off' };
    [a, b] = await Promise.all([
      mesh.agent('a', { services: [...services, lie], relays, tunnel }),
      mesh.agent('b', { services, relays, tunnel }),
    ]);
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('answers the first request of a cold pair in under 2 s, without any manual step', async () => {
    const { body, seconds, stderr } = await curl(a.machine, `http://${HELLO}/`);
    expect(stderr).toBe('');
    expect(body).toContain('hello from b');
    expect(seconds).toBeLessThan(2);
    await a.until('path relayed', (s) => s.peers.some((p) => p.node === 'b' && p.path === 'relayed'));
  });

  it('carries HTTP by name, with a body both ways', async () => {
    const digest = await curl(
      a.machine,
      'http://hello.default.svc.cluster.local/sha256',
      '--data-binary',
      'x'.repeat(100_000),
    );
    expect(digest.body).toMatch(/^[0-9a-f]{64}$/);
    const bytes = await curl(a.machine, `http://${HELLO}/bytes/20000000`, '-o', '/dev/null', '-w', '%{size_download}');
    expect(bytes.body + bytes.status).toContain('20000000');
  });

  it('carries TCP with half-close', async () => {
    expect(await tcpExchange(a.machine, ECHO, 7, 'over two NATs\n')).toBe('hello from b (172.17.0.2)\nover two NATs\n');
  });

  it('carries a WebSocket', async () => {
    const url = 'ws://hello.default.svc.cluster.local/';
    expect(await webSocketExchange(a.machine, url, 'ping')).toEqual(['hello from b (172.17.0.2)', 'ping']);
  });

  it('passes HTTPS through untouched', async () => {
    const { body } = await curl(a.machine, `https://${SECURE}/`, '--insecure');
    expect(body).toContain('secure hello from b');
  });

  it('answers 1,000 sequential and 200 concurrent requests without an error and leaves nothing behind', async () => {
    const config = Array.from({ length: 1_000 }, () => `url = http://${HELLO}/\noutput = /dev/null`).join('\n');
    const args = ['-sS', '--fail', '-H', 'Connection: close', '-w', '%{http_code}\\n', '-K', '-'];
    const sequential = await a.machine.exec('curl', args, { input: config, timeoutMs: 120_000 });
    expect({ stderr: sequential.stderr, ok: sequential.stdout.match(/200/g)?.length }).toEqual({
      stderr: '',
      ok: 1_000,
    });
    const parallel = await a.machine.exec(
      'curl',
      ['--no-progress-meter', '--parallel', '--parallel-max', '200', '--parallel-immediate', ...args],
      {
        input: config.split('\n').slice(0, 400).join('\n'),
        timeoutMs: 120_000,
      },
    );
    expect({ stderr: parallel.stderr, ok: parallel.stdout.match(/200/g)?.length }).toEqual({ stderr: '', ok: 200 });
    for (const agent of [a, b]) {
      await agent.until('no stream or flow left', (s) => s.peers.every((p) => p.streams === 0) && s.flows?.tcp === 0);
      // Sockets in TIME_WAIT belong to the kernel, everything else would be ours; to the relay: control and one data socket.
      const open = await agent.machine.must('ss', [
        '-Htn',
        'state',
        'established',
        'state',
        'close-wait',
        'state',
        'fin-wait-2',
      ]);
      const leftovers = open
        .split('\n')
        .filter((line) => line !== '' && !line.includes(':20006') && !line.includes(':10551'));
      expect(leftovers).toEqual([]);
    }
  }, 240_000);

  it('keeps the borders of UDP datagrams', async () => {
    const sizes = [1, 512, 1_472, 4_096, 9_000, 60_000];
    expect(await udpExchange(a.machine, UDP_ECHO, 7, sizes)).toEqual(sizes.map((size) => `intact ${size} b`));
  });

  it('brings traffic back by itself after the server was killed and started again', async () => {
    await server.kill('SIGKILL');
    await a.until('the relay is missed', (s) => s.relays.every((r) => r.state !== 'connected'), 30_000);
    server = await mesh.server('server');
    await pollUntil(
      async () => (await curl(a.machine, `http://${HELLO}/`, '--max-time', '2')).body.includes('hello from b'),
      {
        timeoutMs: 30_000,
        what: 'traffic is back',
      },
    );
  });

  it('refuses what is not an endpoint of the node it is asked of', async () => {
    // a's own catalog claims that b's admin endpoint is a Service; b knows better.
    const { body, code } = await curl(a.machine, `http://${LIE}/metrics`);
    expect({ body: body.trim(), failed: code !== 0 }).toEqual({ body: '', failed: true });
    const metrics = await b.machine.must('curl', ['-sS', `${ADMIN}/metrics`]);
    expect(metrics).toMatch(/edgemesh_inbound_refused_total\{peer="a"\} [1-9]/);
  });

  it('lets nobody in without the mesh secret', async () => {
    const stranger = await mesh.agent('stranger', {
      services: labServices(['b']),
      relays: [mesh.host('server').address()],
      secret: 'wrong',
    });
    const status = await stranger.until('a reason', (s) => s.relays.some((r) => /secret/.test(r.reason ?? '')), 20_000);
    expect(status.relays[0]?.state).not.toBe('connected');
    expect((await curl(stranger.machine, `http://${HELLO}/`, '--max-time', '5')).body).toBe('');
  });

  it('forgets UDP flows after their idle time, on both nodes', async () => {
    for (const agent of [a, b]) {
      await agent.until('no flow left', (s) => s.peers.every((p) => p.streams === 0) && s.flows?.udp === 0, 75_000);
    }
  }, 160_000);
});
