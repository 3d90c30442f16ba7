import { type LabMachine, type LabProcess, pollUntil, startResponder, tally } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type KubeProcess, startKubeApi } from '../harness/kube.ts';
import { writeManifests } from '../harness/manifests.ts';
import { createMesh, type Mesh, type MeshAgent, type Status } from '../harness/mesh.ts';
import { clusterIP, makeNode, makeService } from '../harness/objects.ts';
import { preparePods, startPod } from '../harness/pods.ts';

const WEB = '10.96.12.1';
const PODS = { 'a-2': '172.17.0.2', 'a-4': '172.17.0.4', 'b-2': '172.17.0.2' } as const;
type Pod = keyof typeof PODS;
const NAMES = Object.keys(PODS) as Pod[];
const PREFIX = 'edgemesh.kubeedge.io/health-check';

const checks = (status: Status) =>
  status.details?.endpointChecks as
    | { readonly checked: number; readonly failing: readonly { readonly nodeName: string; readonly address: string }[] }
    | undefined;

describe('endpoints under health checks, while nobody can ask the cluster', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let client: LabMachine;
  let api: KubeProcess;
  const pods = new Map<Pod, LabMachine>();
  const responders = new Map<Pod, LabProcess>();

  const serve = async (pod: Pod) =>
    responders.set(pod, await startResponder(pods.get(pod) as LabMachine, { tcp: [7000], http: [8080] }));
  const kill = (pod: Pod) => responders.get(pod)?.kill('SIGKILL');

  beforeAll(async () => {
    mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' }, api: { lan: 'home' } } });
    for (const node of ['a', 'b']) await preparePods(mesh.host(node));
    for (const pod of NAMES) {
      pods.set(pod, await startPod(mesh.host(pod.slice(0, 1)), pod, PODS[pod]));
      await serve(pod);
    }
    client = await startPod(mesh.host('a'), 'client', '172.17.0.3');
    const objects = [
      ...['a', 'b'].map((name) => makeNode(name, mesh.host(name).address())),
      ...makeService({
        name: 'web',
        annotations: {
          [PREFIX]: 'http',
          [`${PREFIX}-port`]: 'http',
          [`${PREFIX}-path`]: '/healthz',
          [`${PREFIX}-interval`]: '1s',
          [`${PREFIX}-unhealthy-threshold`]: '2',
          [`${PREFIX}-healthy-threshold`]: '1',
        },
        spec: clusterIP(WEB),
        ports: [
          { name: 'tcp', port: 7, targetPort: 7000 },
          { name: 'http', port: 80, targetPort: 8080 },
        ],
        endpoints: NAMES.map((pod) => ({ node: pod.slice(0, 1), address: PODS[pod] })),
      }),
    ];
    await writeManifests(`${mesh.folder}/cluster`, { objects });
    api = await startKubeApi(mesh.host('api'), `${mesh.folder}/cluster`, 'apiserver');
    const options = { kubernetes: true, config: { kubeAPIConfig: { master: api.url } } };
    [a] = (await Promise.all([mesh.agent('a', options), mesh.agent('b', options)])) as [MeshAgent, MeshAgent];
    await answering(NAMES);
    await a.until('the endpoints are checked', (s) => checks(s)?.checked === 3);
    await failing();
    await api.process.kill('SIGKILL');
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  const answers = () => tally(client, { address: WEB, port: 7, count: 12, timeoutMs: 3_000 });
  const answering = (expected: readonly string[]) =>
    pollUntil(
      async () =>
        Object.keys(await answers())
          .sort()
          .join() === expected.join(),
      {
        timeoutMs: 30_000,
        what: `answers of ${expected.join()}`,
      },
    );
  const isPod = (pod: Pod) => (each: { readonly nodeName: string; readonly address: string }) =>
    each.nodeName === pod.slice(0, 1) && each.address === PODS[pod];
  /** Exactly these fail. A busy machine may fail a check now and then, which passes. */
  const failing = (...names: readonly Pod[]) =>
    a.until(
      `${names.join(' and ') || 'none'} fail`,
      (s) => {
        const found = checks(s)?.failing;
        return found?.length === names.length && names.every((pod) => found.some(isPod(pod)));
      },
      30_000,
    );
  const metric = async (name: string) =>
    (await a.machine.must('curl', ['-sS', 'http://127.0.0.1:10551/metrics'])).match(
      new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)`, 'm'),
    )?.[1];

  it('leaves out an endpoint of another node whose process is dead, and takes it back', async () => {
    await kill('b-2');
    const status = await failing('b-2');
    expect(status.details?.endpointChecks).toMatchObject({
      failing: [{ service: 'default/web', nodeName: 'b', address: PODS['b-2'], leftOut: true }],
    });
    await answering(['a-2', 'a-4']);
    // Nothing is left for the agent to carry: the rule is the kernel's alone.
    const live = () => a.machine.must('nft', ['list', 'map', 'inet', 'edgemesh', 'svc4_live']);
    await pollUntil(async () => !(await live()).includes(WEB), { timeoutMs: 30_000, what: 'the rule changed' });
    // Both ports of the pod, though only one is checked.
    expect(await metric('edgemesh_l4_health_left_out')).toBe('2');
    await serve('b-2');
    await failing();
    await answering(NAMES);
  }, 120_000);

  it('leaves out an endpoint of this node, which the kernel would go on serving', async () => {
    await kill('a-4');
    await failing('a-4');
    await answering(['a-2', 'b-2']);
    await serve('a-4');
    await failing();
    await answering(NAMES);
  }, 120_000);

  it('leaves nobody out when all fail: whoever answers first is reached', async () => {
    await Promise.all(NAMES.map(kill));
    await failing(...NAMES);
    await pollUntil(async () => (await metric('edgemesh_l4_health_left_out')) === '0', {
      timeoutMs: 30_000,
      what: 'all are back',
    });
    await Promise.all(NAMES.map(serve));
    await failing();
    await answering(NAMES);
  }, 120_000);
});
