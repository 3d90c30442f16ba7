import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNetworkPolicies, type NetworkPolicies } from '@edgemesh/cni';
import { groupKind, type KubeObject, objectKey } from '@edgemesh/core';
import { createRunner } from '@edgemesh/linux';
import { createTestCatalog } from '@edgemesh/testkit';
import { createLab, type Lab, labMissing, pollUntil } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './testing/command.ts';
import { createRuntime, type Runtime } from './testing/runtime.ts';

const missing = await labMissing({ ci: process.env.CI !== undefined });
const PODS = ['web', 'client', 'other'];

describe.skipIf(missing !== undefined)('NetworkPolicies of pods on one bridge', () => {
  let lab: Lab;
  let folder: string;
  let runtime: Runtime;
  let policies: NetworkPolicies;
  const view = createTestCatalog();

  beforeAll(async () => {
    lab = await createLab({ hosts: { node: { lan: 'office' } } });
    folder = await mkdtemp(join(tmpdir(), 'cni-lab-'));
    const ipam = { dataDir: folder, ranges: ['10.244.1.0/24', 'fd44:1::/64'] };
    const list = { cniVersion: '1.1.0', name: 'pods', plugins: [{ type: 'edgemesh-cni', ipam }] };
    const ip = (...args: string[]) => run('ip', args);
    runtime = createRuntime({ host: lab.host('node'), list, prefix: `${lab.prefix}p-`, ip });
    for (const name of PODS) await runtime.add(name);
    for (const [family, port] of [
      ['-4', '8080'],
      ['-6', '8080'],
      ['-4', '9090'],
    ] as const) {
      lab.host('node').spawn('ip', ['netns', 'exec', `${lab.prefix}p-web`, 'nc', family, '-l', '-k', '-p', port]);
    }
    await pollUntil(async () => {
      const { stdout } = await runtime.exec('web', 'ss', '-Htln');
      return stdout.includes('0.0.0.0:8080') && /(\[::\]|\*):8080/.test(stdout) && stdout.includes(':9090');
    });
    policies = await createNetworkPolicies({
      view,
      nodeName: 'node',
      runner: createRunner({ netns: lab.host('node').netns }),
    });
  });
  afterAll(async () => {
    await policies?.[Symbol.asyncDispose]();
    for (const name of runtime.pods.keys()) await runtime.remove(name);
    await lab[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  const apply = async (...specs: object[]) => {
    const pods = PODS.map((name) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'shop', labels: { app: name } },
      spec: { nodeName: 'node', containers: [{ name, ports: [{ name: 'http', containerPort: 8080 }] }] },
      status: { podIPs: runtime.pods.get(name)?.result.ips.map(({ address }) => ({ ip: address.split('/')[0] })) },
    }));
    const written = specs.map((spec, i) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `p${i}`, namespace: 'shop' },
      spec,
    }));
    const objects = new Map<string, Map<string, KubeObject>>();
    for (const object of [...pods, ...written] as KubeObject[]) {
      const kind = groupKind(object);
      objects.set(kind, (objects.get(kind) ?? new Map<string, KubeObject>()).set(objectKey(object.metadata), object));
    }
    view.set({ ...view.current, objects });
    await policies.settled();
    expect(policies.status().error).toBeUndefined();
  };
  const reaches = async (from: string, port: number, family: 4 | 6 = 4) => {
    const address = runtime.pods.get('web')?.ip(family) ?? '';
    return (await runtime.exec(from, 'nc', '-z', '-w', '1', address, `${port}`)).code === 0;
  };
  const all = async (from: string) => [
    await reaches(from, 8080),
    await reaches(from, 9090),
    await reaches(from, 8080, 6),
  ];
  const web = { matchLabels: { app: 'web' } };
  const client = { podSelector: { matchLabels: { app: 'client' } } };

  it('leave pods open that no policy selects', async () => {
    await apply();
    expect(await all('client')).toEqual([true, true, true]);
  });

  it('let in only who is named, on the ports that are named, IPv4 and IPv6', async () => {
    await apply({ podSelector: web, ingress: [{ from: [client], ports: [{ port: 'http' }] }] });
    expect(await all('client')).toEqual([true, false, true]);
    expect(await all('other')).toEqual([false, false, false]);
    const address = runtime.pods.get('web')?.ip() ?? '';
    expect((await lab.host('node').exec('nc', ['-z', '-w', '1', address, '9090'])).code).toBe(0);
  });

  it('deny everything by a policy without rules, and add up', async () => {
    await apply({ podSelector: web });
    expect(await all('client')).toEqual([false, false, false]);
    await apply({ podSelector: web }, { podSelector: web, ingress: [{ ports: [{ port: 9000, endPort: 9100 }] }] });
    expect(await all('other')).toEqual([false, true, false]);
  });

  it('hold pods back that may not send, blocks with exceptions included', async () => {
    const only = (cidr: string, except: string[] = []) => ({
      podSelector: { matchLabels: { app: 'client' } },
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr, except } }] }],
    });
    await apply(only('10.244.0.0/16'));
    expect(await all('client')).toEqual([true, true, false]);
    await apply(only('10.244.0.0/16', [`${runtime.pods.get('web')?.ip()}/32`, '10.244.1.0/28']));
    expect(await all('client')).toEqual([false, false, false]);
    expect(await all('other')).toEqual([true, true, true]);
  });

  it('are gone when the agent stops', async () => {
    await apply({ podSelector: web });
    await policies[Symbol.asyncDispose]();
    expect((await lab.host('node').exec('nft', ['list', 'table', 'inet', 'edgemesh_policy'])).code).not.toBe(0);
    expect(await all('other')).toEqual([true, true, true]);
  });
});
