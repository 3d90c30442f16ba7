import { type LabMachine, pollUntil } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { type CniPod, serveInPod, startCniPod } from '../harness/cni-pods.ts';
import { writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { clusterIP, makeNode, makeService } from '../harness/objects.ts';

const NODES = ['a', 'b', 'neighbour', 'off'] as const;
const range = (name: (typeof NODES)[number]) => `10.244.${NODES.indexOf(name) + 1}.0/24`;
const SERVICE_IP = '10.96.7.1';
const on = { edgeCNI: { enable: true, meshCIDRConfig: { edgeCIDR: ['10.244.0.0/16'] } } };

async function pings(from: LabMachine, address: string, ...more: string[]): Promise<boolean> {
  const { code } = await from.exec('ping', ['-c', '1', '-W', '1', ...more, address]);
  return code === 0;
}

/** Everything that the pod network makes in a node's kernel, and the socket of the probe. */
async function traces(machine: LabMachine): Promise<string> {
  const commands = [
    'ip -o link | grep -oE "edgemesh-tun|emcni0"',
    'ip -4 route show table all proto 94',
    'ip -6 route show table all proto 94',
    'nft list tables | grep -E "edgemesh_(cni|policy|pods|vxlan)"',
    'ss -Huln sport = :20006',
  ];
  return (await machine.exec('sh', ['-c', commands.join('; ')])).stdout;
}

describe('pods on nodes behind two NATs that cannot be punched', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;
  let off: MeshAgent;
  let podA: CniPod;
  let podB: CniPod;

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: {
        a: { lan: 'home', dns: ['169.254.96.16'] },
        neighbour: { lan: 'home' },
        b: { lan: 'office' },
        off: { lan: 'office' },
        server: { lan: 'internet' },
      },
      routers: { 'nat-a': { lan: 'home' }, 'nat-b': { lan: 'office' } },
    });
    await mesh.server('server');
    const objects = NODES.map((name) => makeNode(name, mesh.host(name).address(), { podCIDR: range(name) }));
    const relays = [mesh.host('server').address()];
    const start = (name: string, modules: object) =>
      mesh.agent(name, { objects, relays, tunnel: { holePunch: 'off' }, modules: { ...modules } });
    [a, b, , off] = await Promise.all([start('a', on), start('b', on), start('neighbour', on), start('off', {})]);
    [podA, podB] = await Promise.all([startCniPod(mesh, a, 'pod-a'), startCniPod(mesh, b, 'pod-b')]);
    await Promise.all([serveInPod(mesh, podA, 'a'), serveInPod(mesh, podB, 'b')]);
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('reach each other by address, both ways', async () => {
    expect([podA.address, podB.address].map((ip) => ip.replace(/\d+$/, '0/24'))).toEqual([range('a'), range('b')]);
    await pollUntil(() => pings(podA.machine, podB.address), { timeoutMs: 30_000, what: 'a to b' });
    await pollUntil(() => pings(podB.machine, podA.address), { timeoutMs: 30_000, what: 'b to a' });
    expect((await curl(podA.machine, `http://${podB.address}:8080/`)).body).toContain('hello from b');
    expect((await curl(podB.machine, `http://${podA.address}:8080/`)).body).toContain('hello from a');
    await a.until('path relayed', (s) => s.peers.some((p) => p.node === 'b' && p.path === 'relayed'));
  });

  it('send packets as large as the uplink takes, and much data', async () => {
    expect(await pings(podA.machine, podB.address, '-M', 'do', '-s', '1472')).toBe(true);
    expect(await pings(podA.machine, podB.address, '-M', 'do', '-s', '1473')).toBe(false);
    const url = `http://${podB.address}:8080/bytes/20000000`;
    const { body, status } = await curl(podA.machine, url, '-o', '/dev/null', '-w', '%{size_download}');
    expect(`${body}${status}`).toContain('20000000');
  });

  it('reach a ClusterIP with an endpoint on the other node', async () => {
    const service = makeService({
      name: 'web',
      spec: clusterIP(SERVICE_IP),
      ports: [{ name: 'http', port: 80, targetPort: 8080 }],
      endpoints: [{ address: podB.address, node: 'b' }],
    });
    for (const agent of [a, b]) await writeManifests(agent.manifestDir, { web: service });
    const fetched = async () => (await curl(podA.machine, `http://${SERVICE_IP}/`, '--max-time', '2')).body;
    await pollUntil(async () => (await fetched()).includes('hello from b'), { timeoutMs: 30_000, what: 'the Service' });
  });

  it('reach pods of headless Services by name, by the address of the pod itself where that is wanted', async () => {
    const headless = (name: string, more: object = {}) =>
      makeService({
        name,
        spec: { clusterIP: 'None', clusterIPs: ['None'] },
        ports: [{ name: 'http', port: 8080 }],
        endpoints: [{ address: podB.address, node: 'b' }],
        ...more,
      });
    const real = headless('real', { annotations: { 'edgemesh.kubeedge.io/virtual-addresses': 'disabled' } });
    for (const agent of [a, b]) await writeManifests(agent.manifestDir, { headless: [...headless('db'), ...real] });
    const fetched = async (name: string) =>
      (await curl(podA.machine, `http://${name}.default.svc.cluster.local:8080/`, '--max-time', '2')).body;
    for (const name of ['db', 'real']) {
      await pollUntil(async () => (await fetched(name)).includes('hello from b'), { timeoutMs: 30_000, what: name });
    }
    const { stdout } = await podA.machine.exec('getent', ['ahostsv4', 'real.default.svc.cluster.local']);
    expect(stdout).toContain(podB.address);
  });

  it('are shielded by NetworkPolicy', async () => {
    const meta = { namespace: 'default', labels: { app: 'web' } };
    const service = `http://${SERVICE_IP}/`;
    const fetches = async (url: string) =>
      (await curl(podA.machine, url, '--max-time', '2')).body.includes('hello from b');
    const shield = (from: string) => [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { ...meta, name: 'pod-b' },
        spec: { nodeName: 'b', containers: [] },
        status: { phase: 'Running', podIP: podB.address, podIPs: [{ ip: podB.address }] },
      },
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { namespace: 'default', name: 'http-only' },
        spec: {
          podSelector: { matchLabels: meta.labels },
          ingress: [{ from: [{ ipBlock: { cidr: from } }], ports: [{ protocol: 'TCP', port: 8080 }] }],
        },
      },
    ];
    await writeManifests(b.manifestDir, { shield: shield(`${podA.address}/32`) });
    const pinged = () => pings(podA.machine, podB.address);
    await pollUntil(async () => !(await pinged()), { timeoutMs: 30_000, what: 'the policy holds' });
    expect(await fetches(`http://${podB.address}:8080/`)).toBe(true);
    expect(await fetches(service)).toBe(true);
    // To somebody else's pods: the agent of b opens the Service's connections itself, and asks the policy for whom.
    await writeManifests(b.manifestDir, { shield: shield(range('neighbour')) });
    await pollUntil(async () => !(await fetches(service)), { timeoutMs: 30_000, what: 'the Service is closed' });
    expect(await fetches(`http://${podB.address}:8080/`)).toBe(false);
    await writeManifests(b.manifestDir, { shield: shield('0.0.0.0/0').slice(0, 2) });
    await pollUntil(pinged, { timeoutMs: 30_000, what: 'the policy is gone' });
    await pollUntil(() => fetches(service), { timeoutMs: 30_000, what: 'the Service is open' });
  });

  it('go straight to a node of the same LAN once it has proved itself', async () => {
    const straight = `via ${mesh.host('neighbour').address()}`;
    const route = () => a.machine.must('ip', ['route', 'show', range('neighbour')]);
    await pollUntil(async () => (await route()).includes(straight), { timeoutMs: 30_000, what: 'a direct route' });
    expect(await pings(podA.machine, range('neighbour').replace('0/24', '1'))).toBe(true);
    const { details } = await a.status();
    expect(details?.cni).toMatchObject({
      own: [range('a')],
      paths: expect.arrayContaining([
        { node: 'b', cidr: range('b'), kind: 'tunnel' },
        { node: 'neighbour', cidr: range('neighbour'), kind: 'lan', gateway: mesh.host('neighbour').address() },
      ]),
      mtu: 1_500,
      tun: { name: 'edgemesh-tun' },
      policies: { isolatedPods: 0 },
    });
  });

  it('learn of an uplink that takes smaller packets, new ones from the start', async () => {
    // Both ends of the link, as when a provider changes it.
    const setMtu = async (mtu: number) => {
      await a.machine.must('ip', ['link', 'set', 'dev', 'eth0', 'mtu', String(mtu)]);
      await mesh.lab.router('nat-a').must('ip', ['link', 'set', 'dev', 'lan0', 'mtu', String(mtu)]);
    };
    const mtuIs = (mtu: number) =>
      pollUntil(async () => (await a.machine.must('ip', ['link', 'show', 'edgemesh-tun'])).includes(`mtu ${mtu} `), {
        timeoutMs: 30_000,
        what: `MTU ${mtu}`,
      });
    await setMtu(1_400);
    await mtuIs(1_400);
    const fits = (size: string) => pings(podA.machine, podB.address, '-M', 'do', '-s', size);
    await pollUntil(() => fits('1372'), { timeoutMs: 30_000, what: 'a packet that fits' });
    expect(await fits('1373')).toBe(false);
    const late = await startCniPod(mesh, a, 'late');
    expect(await late.machine.must('ip', ['link', 'show', 'eth0'])).toContain('mtu 1400 ');
    // Sent in one piece by a pod that knows nothing of it, cut on the way to the new one.
    for (const { machine } of [podB, podA]) {
      await pollUntil(() => pings(machine, late.address, '-s', '1472'), { timeoutMs: 30_000, what: 'in pieces' });
    }
    await late.remove();
    await setMtu(1_500);
  });

  it('are no business of a node where the pod network is off', async () => {
    expect(await traces(off.machine)).toBe('');
    expect((await off.status()).details).not.toHaveProperty('cni');
    expect(await pings(podA.machine, range('off').replace('0/24', '2'))).toBe(false);
    await pollUntil(() => a.process.lines.some((line) => line.includes('edgeCNI.enable is false there')), {
      timeoutMs: 30_000,
      what: 'the refusal',
    });
  });

  it('are connected again after somebody removed the device', async () => {
    const device = async () => (await a.machine.must('ip', ['-o', 'link', 'show', 'edgemesh-tun'])).split(':')[0];
    const before = await device();
    await a.machine.must('ip', ['link', 'del', 'edgemesh-tun']);
    await a.until('pods reach each other', () => pings(podA.machine, podB.address), 15_000);
    expect(await device()).not.toBe(before);
    await a.until('cni is ready', (s) => s.modules.some(({ name, state }) => name === 'cni' && state === 'ready'));
  });

  it('keep their network when the agent is killed and comes back', async () => {
    await b.process.kill('SIGKILL');
    await b.restart();
    await pollUntil(() => pings(podA.machine, podB.address), { timeoutMs: 20_000, what: 'a to b again' });
  });

  it('leave nothing behind: neither a clean stop nor cleanup after a kill', async () => {
    await podA.remove();
    expect(await a.process.kill('SIGTERM')).toBe(0);
    // The bridge belongs to the pods, which outlive an agent.
    expect((await traces(a.machine)).trim()).toBe('emcni0\ntable bridge edgemesh_pods');
    expect(await traces(b.machine)).toMatch(/emcni0[\s\S]*edgemesh_policy[\s\S]*:20006/);
    await b.process.kill('SIGKILL');
    const { code, stdout } = await b.machine.exec(process.execPath, [...mesh.agentCommand, 'cleanup']);
    expect(stdout).toContain('bridge emcni0: removed');
    expect({ code, left: await traces(b.machine) }).toEqual({ code: 0, left: '' });
  });
});
