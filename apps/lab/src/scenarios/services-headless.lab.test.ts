import { mkdir } from 'node:fs/promises';
import { type LabMachine, pollUntil, startResponder } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { makeNode, makeService } from '../harness/objects.ts';
import { preparePods, startPod } from '../harness/pods.ts';

const DNS = '169.254.96.16';
const SOCKS = '169.254.96.16:10800';
const db = (...nodes: string[]) =>
  makeService({
    name: 'db',
    spec: { clusterIP: 'None', clusterIPs: ['None'] },
    ports: [
      { name: 'tcp', port: 7000 },
      { name: 'http', port: 8080 },
      { name: 'udp', port: 7001, protocol: 'UDP' },
    ],
    endpoints: nodes.map((node, i) => ({ address: '172.17.0.2', node, hostname: `db-${i}`, pod: `db-${i}` })),
  });
const real = makeService({
  name: 'real',
  annotations: { 'edgemesh.kubeedge.io/virtual-addresses': 'disabled' },
  spec: { clusterIP: 'None', clusterIPs: ['None'] },
  ports: [{ port: 7000 }],
  endpoints: [{ address: '172.17.0.2', node: 'b', hostname: 'r-0' }],
});
const web = makeService({
  name: 'web',
  spec: { clusterIP: '10.96.0.10', clusterIPs: ['10.96.0.10'] },
  ports: [{ port: 80, targetPort: 8080 }],
  endpoints: [{ address: '172.17.0.2', node: 'b' }],
});

describe('headless Services and SOCKS5 across two NATs', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;
  let client: LabMachine;

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: {
        a: { lan: 'home', dns: [DNS], search: ['default.svc.cluster.local', 'svc.cluster.local'] },
        b: { lan: 'office', dns: [DNS] },
        server: { lan: 'internet' },
      },
      routers: { 'nat-a': { lan: 'home' }, 'nat-b': { lan: 'office' } },
    });
    await mesh.server('server');
    for (const name of ['a', 'b']) {
      await preparePods(mesh.host(name));
      const pod = await startPod(mesh.host(name), `pod-on-${name}`, '172.17.0.2');
      await startResponder(pod, { http: [8080], tcp: [7000], udp: [7001] });
    }
    client = await startPod(mesh.host('a'), 'client', '172.17.0.3');
    await startSshd(mesh.host('b'), mesh.folder);
    const relays = [mesh.host('server').address()];
    const nodes = ['a', 'b'].map((name) => makeNode(name, mesh.host(name).address()));
    const options = {
      relays,
      objects: [...nodes, ...db('b', 'a'), ...real, ...web],
      tunnel: { holePunch: 'off' },
      modules: { edgeProxy: { enable: true, socks5Proxy: { enable: true } } },
    };
    [a, b] = await Promise.all([mesh.agent('a', options), mesh.agent('b', options)]);
    await b.until('the relay', (s) => s.relays.some((r) => r.state === 'connected'));
    await a.until('the relay', (s) => s.relays.some((r) => r.state === 'connected'));
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const dig = async (machine: LabMachine, ...args: string[]) =>
    (await machine.must('dig', ['+short', `@${DNS}`, ...args])).trim().split('\n').sort();

  it('gives an address of this node for a pod behind the tunnel, and the real one for a pod of this node', async () => {
    const [far] = await dig(a.machine, 'db-0.db.default.svc.cluster.local');
    expect(far).toMatch(/^240\.96\.\d+\.\d+$/);
    expect(await dig(a.machine, 'db-1.db.default.svc.cluster.local')).toEqual(['172.17.0.2']);
    expect(await dig(a.machine, 'db.default.svc.cluster.local')).toEqual(['172.17.0.2', far].sort());
    expect(await dig(b.machine, 'db-0.db.default.svc.cluster.local')).toEqual(['172.17.0.2']);
    expect(await dig(a.machine, '-x', far as string)).toEqual(['db-0.db.default.svc.cluster.local.']);
  });

  it('reaches each pod of a StatefulSet by its name, from the node and from a pod, over TCP, HTTP and UDP', async () => {
    for (const machine of [a.machine, client]) {
      const far = await curl(machine, 'http://db-0.db.default.svc.cluster.local:8080/');
      expect({ body: JSON.parse(far.body || '{}').name, stderr: far.stderr }).toEqual({ body: 'pod-on-b', stderr: '' });
      const near = await curl(machine, 'http://db-1.db.default.svc.cluster.local:8080/');
      expect(JSON.parse(near.body).name).toBe('pod-on-a');
      const [address] = await dig(machine, 'db-0.db.default.svc.cluster.local');
      expect((await machine.exec('nc', ['-N', '-w', '3', address as string, '7000'], { input: 'hi' })).stdout).toMatch(
        /^pod-on-b .*\nhi$/,
      );
      const udp = await machine.exec('nc', ['-u', '-w', '2', address as string, '7001'], { input: 'hi' });
      expect(udp.stdout).toMatch(/^pod-on-b .* hi/);
    }
  });

  it('leaves a Service alone that asks for real addresses', async () => {
    expect(await dig(a.machine, 'r-0.real.default.svc.cluster.local')).toEqual(['172.17.0.2']);
  });

  it('keeps the address of db-0 when the agent restarts, and when the pod is away for a while', async () => {
    const [before] = await dig(a.machine, 'db-0.db.default.svc.cluster.local');
    await writeManifests(a.manifestDir, { objects: [makeNode('a', mesh.host('a').address()), ...web] });
    await pollUntil(async () => (await dig(a.machine, 'db-0.db.default.svc.cluster.local'))[0] === '', {
      what: 'db is gone',
    });
    await a.process.kill();
    const nodes = ['a', 'b'].map((name) => makeNode(name, mesh.host(name).address()));
    await writeManifests(a.manifestDir, { objects: [...nodes, ...db('b', 'a'), ...real, ...web] });
    await a.restart();
    await pollUntil(async () => (await dig(a.machine, 'db-0.db.default.svc.cluster.local'))[0] === before, {
      what: 'the same address',
    });
    const { body } = await curl(client, 'http://db-0.db.default.svc.cluster.local:8080/');
    expect(JSON.parse(body).name).toBe('pod-on-b');
  });

  it('takes ssh to a node by its name, through SOCKS5', async () => {
    const key = `${mesh.folder}/id`;
    const proxy = `ProxyCommand=nc -X 5 -x ${SOCKS} %h %p`;
    const options = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR'];
    for (const machine of [a.machine, client]) {
      const { stdout, stderr } = await machine.exec('ssh', [
        ...options,
        '-i',
        key,
        '-o',
        proxy,
        'root@b',
        'ip -br addr show eth0',
      ]);
      expect({ stdout: stdout.includes(mesh.host('b').address()), stderr }).toEqual({ stdout: true, stderr: '' });
    }
  });

  it('takes HTTP to a Service by name, to a pod by hostname and to an endpoint by address, through SOCKS5', async () => {
    const via = ['--socks5-hostname', SOCKS];
    for (const url of ['http://web.default/', 'http://web.default.svc.cluster.local/', 'http://10.96.0.10/']) {
      const { body, stderr } = await curl(client, url, ...via);
      expect({ name: JSON.parse(body || '{}').name, stderr }).toEqual({ name: 'pod-on-b', stderr: '' });
    }
    const pod = await curl(client, 'http://db-0.db.default.svc.cluster.local:8080/', ...via);
    expect(JSON.parse(pod.body).name).toBe('pod-on-b');
    // 172.17.0.2 exists on both nodes: the one of this node is meant.
    const own = await curl(client, 'http://172.17.0.2:8080/', ...via);
    expect(JSON.parse(own.body).name).toBe('pod-on-a');
  });

  it('answers wrong targets with the right reply codes', async () => {
    const code = async (url: string) => {
      const { stderr } = await curl(client, url, '--socks5-hostname', SOCKS, '--max-time', '20');
      return Number(/\((\d+)\)(?!.*\(\d+\))/.exec(stderr.replace(/^curl: \(97\)/, ''))?.[1]);
    };
    expect(await code('http://nobody.default/')).toBe(4); // host unreachable: no such Service
    expect(await code('http://web.default:81/')).toBe(4); // no such port
    expect(await code('http://b:10551/')).toBe(2); // not allowed: only ssh of nodes
    expect(await code(`http://${mesh.host('b').address()}:10551/`)).toBe(2);
    expect(await code('http://8.8.8.8/')).toBe(2);
  });
});

async function startSshd(machine: LabMachine, folder: string): Promise<void> {
  const key = `${folder}/id`;
  await machine.must('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  await machine.must('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', `${folder}/host`]);
  await machine.must('cp', [`${key}.pub`, `${folder}/authorized`]);
  await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  const options = {
    HostKey: `${folder}/host`,
    AuthorizedKeysFile: `${folder}/authorized`,
    StrictModes: 'no',
    PermitRootLogin: 'prohibit-password',
    UsePAM: 'no',
    PidFile: 'none',
  };
  const args = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  machine.spawn('/usr/sbin/sshd', ['-D', '-e', '-f', '/dev/null', ...args]);
  await pollUntil(async () => (await machine.must('ss', ['-Hltn'])).includes(':22'), { what: 'sshd' });
}
