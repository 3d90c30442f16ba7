import { setTimeout as delay } from 'node:timers/promises';
import { type LabMachine, type LabProcess, pollUntil, startResponder, tally } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { startLoad, startTalker } from '../harness/flows.ts';
import { writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { clusterIP, type EndpointSpec, makeNode, makeService } from '../harness/objects.ts';
import { preparePods, startPod } from '../harness/pods.ts';

const DNS = '169.254.96.16';
const PORTS = [
  { name: 'tcp', port: 7, targetPort: 7000 },
  { name: 'http', port: 80, targetPort: 8080 },
  { name: 'udp', port: 7, targetPort: 7001, protocol: 'UDP' as const },
];
const place = (pod: string): EndpointSpec => ({ node: pod.slice(0, 1), address: `172.17.0.${pod.slice(2)}` });

describe('Services that change', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;
  let client: LabMachine;
  let nodes: object[];
  const pods = new Map<string, LabMachine>();
  const responders = new Map<string, LabProcess>();
  const serve = async (pod: string) =>
    responders.set(pod, await startResponder(pods.get(pod) as LabMachine, { tcp: [7000], http: [8080], udp: [7001] }));

  beforeAll(async () => {
    mesh = await createMesh({ hosts: { a: { lan: 'home', dns: [DNS] }, b: { lan: 'home' } } });
    for (const node of ['a', 'b']) {
      await preparePods(mesh.host(node));
      for (const last of [2, 4]) {
        pods.set(`${node}-${last}`, await startPod(mesh.host(node), `${node}-${last}`, `172.17.0.${last}`));
        await serve(`${node}-${last}`);
      }
    }
    client = await startPod(mesh.host('a'), 'client', '172.17.0.3');
    nodes = ['a', 'b'].map((name) => makeNode(name, mesh.host(name).address()));
    const objects = [...nodes, ...service('web', 1, ['a-2', 'b-2'])];
    // Port 53 is taken when the agent of a starts.
    const squatter = mesh
      .host('a')
      .spawn(process.execPath, [
        '-e',
        "require('node:dgram').createSocket('udp4').bind(53, '0.0.0.0', () => console.log('ready'))",
      ]);
    await squatter.waitForLine('ready');
    [a, b] = await Promise.all([mesh.agent('a', { objects }), mesh.agent('b', { objects })]);
    squatters.push(squatter);
    await curl(a.machine, 'http://10.96.2.1/', '--retry', '5', '--retry-all-errors');
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());
  const squatters: LabProcess[] = [];

  const service = (name: string, last: number, members: readonly string[]) =>
    makeService({ name, spec: clusterIP(`10.96.2.${last}`), ports: PORTS, endpoints: members.map(place) });
  /** Gives both agents these Services, one a little later than the other, as a cluster would. */
  const publish = async (objects: readonly object[]) => {
    await writeManifests(b.manifestDir, { objects: [...nodes, ...objects] });
    await delay(100);
    await writeManifests(a.manifestDir, { objects: [...nodes, ...objects] });
  };
  const answering = async (address: string, count = 12, machine = client, protocol: 'tcp' | 'udp' = 'tcp') =>
    Object.keys(await tally(machine, { address, port: 7, protocol, count, timeoutMs: 1_500 })).sort();
  const settled = (address: string, expected: readonly string[], timeoutMs = 5_000) =>
    pollUntil(async () => (await answering(address)).join() === expected.join(), { timeoutMs, what: expected.join() });

  const ruleIsGone = (address: string) =>
    pollUntil(
      async () => !(await a.machine.must('nft', ['list', 'map', 'inet', 'edgemesh', 'svc4_live'])).includes(address),
      {
        what: 'the rule is gone',
      },
    );

  it('works without DNS while port 53 is busy, says so, and starts DNS when the port is free', async () => {
    const status = await a.until('dns is degraded', (s) =>
      s.modules.some((m) => m.name === 'dns' && m.state === 'degraded'),
    );
    expect(status.modules.find((m) => m.name === 'dns')?.reason).toMatch(/169\.254\.96\.16.*53|53.*in use/i);
    expect((await curl(client, 'http://10.96.2.1/')).status).toBe(200);
    await squatters[0]?.kill('SIGKILL');
    await a.until('dns is ready', (s) => s.modules.some((m) => m.name === 'dns' && m.state === 'ready'), 20_000);
    expect((await curl(client, 'http://web.default.svc.cluster.local/')).status).toBe(200);
  });

  it('moves a UDP client that keeps its port when its endpoint changes: local, remote, none, and back', async () => {
    await publish(service('web', 1, ['a-2']));
    await settled('10.96.2.1', ['a-2']);
    const talker = await startTalker(client, mesh.folder, { protocol: 'udp', address: '10.96.2.1', port: 7 });
    expect(await talker.say('one')).toMatch(/^a-2 /);
    for (const [pod, text] of [
      ['a-4', 'two'],
      ['b-2', 'three'],
      ['a-2', 'four'],
    ] as const) {
      await publish(service('web', 1, [pod]));
      await settled('10.96.2.1', [pod]);
      // The rules are there; connection tracking is cleaned up right after.
      const moved = async () => new RegExp(`^${pod} .* ${text}$`).test(await talker.say(text));
      await pollUntil(moved, { timeoutMs: 2_000, what: `an answer of ${pod}` });
    }
    await publish(service('web', 1, []));
    await settled('10.96.2.1', ['ECONNREFUSED']);
    await pollUntil(async () => !/^[ab]-/.test(await talker.say('five')), { timeoutMs: 2_000, what: 'no answer' });
    await publish(service('web', 1, ['b-4']));
    await settled('10.96.2.1', ['b-4']);
    await pollUntil(async () => (await talker.say('six')).startsWith('b-4 '), { what: 'back again' });
    await talker.end();
  });

  it('lets connections finish whose endpoint has left, on this node and behind the tunnel', async () => {
    for (const [before, after] of [
      ['a-2', 'b-2'],
      ['b-2', 'a-2'],
    ] as const) {
      await publish(service('web', 1, [before]));
      await settled('10.96.2.1', [before]);
      const talker = await startTalker(client, mesh.folder, { protocol: 'tcp', address: '10.96.2.1', port: 7 });
      expect(await talker.say('early')).toBe('early');
      await publish(service('web', 1, [after]));
      await settled('10.96.2.1', [after]);
      expect(await talker.say('late')).toBe('late');
      await publish([]);
      await ruleIsGone('10.96.2.1');
      expect(await talker.say('later')).toBe('later');
      await talker.end();
    }
  });

  it('loses no request while the pods of a Service are replaced one after the other', async () => {
    await publish(service('web', 1, ['a-2', 'b-2']));
    await settled('10.96.2.1', ['a-2', 'b-2']);
    const load = await startLoad(client, mesh.folder, 'http://10.96.2.1/');
    const replace = async (after: readonly string[], gone: string) => {
      await publish(service('web', 1, after));
      // What a pod gets between SIGTERM and SIGKILL, if it is in a hurry.
      await delay(1_000);
      await responders.get(gone)?.kill('SIGKILL');
    };
    for (const _ of [1, 2]) {
      await replace(['a-4', 'b-2'], 'a-2');
      await replace(['a-4', 'b-4'], 'b-2');
      await Promise.all([serve('a-2'), serve('b-2')]);
      await replace(['a-2', 'b-4'], 'a-4');
      await replace(['a-2', 'b-2'], 'b-4');
      await Promise.all([serve('a-4'), serve('b-4')]);
    }
    const { ok, failures, by } = await load.stop();
    expect(failures).toEqual({});
    expect(ok).toBeGreaterThan(500);
    expect(Object.keys(by).sort()).toEqual(['a-2', 'a-4', 'b-2', 'b-4']);
  });

  it('is rid of a deleted Service within 2 s, in DNS and in the rules', async () => {
    await publish([...service('web', 1, ['a-2']), ...service('old', 2, ['a-2', 'b-2'])]);
    const dig = async () =>
      (await a.machine.must('dig', [`@${DNS}`, 'old.default.svc.cluster.local'])).match(/status: (\w+)/)?.[1];
    await pollUntil(async () => (await dig()) === 'NOERROR', { what: 'the Service is there' });
    await writeManifests(a.manifestDir, { objects: [...nodes, ...service('web', 1, ['a-2'])] });
    const started = performance.now();
    await pollUntil(
      async () =>
        (await dig()) === 'NXDOMAIN' &&
        !(await a.machine.must('nft', ['list', 'map', 'inet', 'edgemesh', 'svc4_live'])).includes('10.96.2.2'),
      { timeoutMs: 5_000, what: 'the Service is gone' },
    );
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it('has its rules back after somebody has flushed or deleted them', async () => {
    await publish(service('web', 1, ['a-2', 'b-2']));
    await settled('10.96.2.1', ['a-2', 'b-2']);
    for (const damage of ['flush ruleset', 'flush table inet edgemesh']) {
      await a.machine.must('sh', ['-c', `nft ${damage}`]);
      await settled('10.96.2.1', ['a-2', 'b-2'], 12_000);
    }
  });
});
