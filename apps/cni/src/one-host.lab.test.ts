import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLab, type Lab, labMissing } from '@edgemesh/testkit/netns';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from './testing/command.ts';
import { createRuntime, LAUNCHER, PLUGIN, type Runtime, STANDARD_PLUGINS } from './testing/runtime.ts';

const missing = await labMissing({ ci: process.env.CI !== undefined });
const ip = (...args: string[]) => run('ip', args);

describe.skipIf(missing !== undefined)('the plugin on one host', () => {
  let lab: Lab;
  let folder: string;
  const open: Runtime[] = [];
  beforeAll(async () => {
    lab = await createLab({ ipv6: true, hosts: { node: { lan: 'office' } } });
  });
  afterAll(() => lab[Symbol.asyncDispose]());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cni-lab-'));
  });
  afterEach(async () => {
    for (const runtime of open.splice(0)) {
      for (const name of runtime.pods.keys()) await runtime.remove(name);
    }
    await lab.host('node').exec('ip', ['link', 'del', 'emcni0']);
    await rm(folder, { recursive: true });
  });

  const runtimeWith = (
    plugin: Record<string, unknown> = {},
    more: Record<string, unknown>[] = [],
    cniVersion = '1.1.0',
  ) => {
    const ipam = { dataDir: join(folder, 'leases'), ...(plugin.ipam as object | undefined) };
    const base = { type: 'edgemesh-cni', nodeFile: join(folder, 'node.json'), ...plugin, ipam };
    const list = { cniVersion, name: 'pods', plugins: [base, ...more] };
    const runtime = createRuntime({ host: lab.host('node'), list, prefix: `${lab.prefix}p-`, ip });
    open.push(runtime);
    return runtime;
  };
  const ranges = ['10.244.1.0/24', 'fd44:1::/64'];
  const links = async () => {
    const text = await lab.host('node').must('ip', ['-j', 'link', 'show']);
    return (JSON.parse(text) as { ifname: string }[])
      .map(({ ifname }) => ifname)
      .filter((name) => name.startsWith('em'));
  };
  /** The kernel takes the links of a deleted namespace away when it gets round to it. */
  const linksAre = (count: number) => expect.poll(async () => (await links()).length, { timeout: 5_000 }).toBe(count);
  const leases = async () =>
    (await readdir(join(folder, 'leases', 'pods')).catch(() => [])).filter((name) => !/^last|^attachments/.test(name));
  const pings = async (runtime: Runtime, from: string, to: string, ...more: string[]) => {
    const { stdout } = await runtime.exec(from, 'ping', '-c', '2', '-i', '0.05', '-W', '2', ...more, to);
    return / 0% packet loss/.test(stdout);
  };

  it('gives pods addresses that reach each other and the host, IPv4 and IPv6, and takes everything back', async () => {
    await writeFile(
      join(folder, 'node.json'),
      JSON.stringify({ version: 1, nodeName: 'node', podCIDRs: ranges, mtu: 1400 }),
    );
    const runtime = runtimeWith();
    await runtime.status();
    const a = await runtime.add('a');
    const b = await runtime.add('b');
    expect(a.result.ips).toMatchObject([
      { address: '10.244.1.2/32', gateway: '10.244.1.1', interface: 2 },
      { address: 'fd44:1::2/128', gateway: 'fd44:1::1', interface: 2 },
    ]);
    expect(a.result.interfaces[2]).toMatchObject({ name: 'eth0', sandbox: a.path, mtu: 1400 });
    expect(await pings(runtime, 'a', b.ip())).toBe(true);
    expect(await pings(runtime, 'a', b.ip(6))).toBe(true);
    expect(await pings(runtime, 'a', b.ip(), '-M', 'do', '-s', '1372')).toBe(true);
    expect(await pings(runtime, 'a', b.ip(), '-M', 'do', '-s', '1373')).toBe(false);
    expect(await pings(runtime, 'b', '10.244.1.1')).toBe(true);
    expect((await lab.host('node').exec('ping', ['-c', '1', '-W', '2', b.ip(6)])).code).toBe(0);
    await runtime.check('a');
    await runtime.remove('a');
    await runtime.remove('b');
    await linksAre(1);
    expect(await leases()).toEqual([]);
  });

  it('answers VERSION, and the same ADD again with the same result', async () => {
    const runtime = runtimeWith({ ipam: { ranges } });
    expect(await runtime.version()).toEqual({
      cniVersion: '1.1.0',
      supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
    });
    const pod = await runtime.add('again');
    const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'container-again', CNI_IFNAME: 'eth0', CNI_NETNS: pod.path };
    const ipam = { dataDir: join(folder, 'leases'), ranges };
    const second = await runtime.raw(
      env,
      JSON.stringify({ cniVersion: '1.1.0', name: 'pods', type: 'edgemesh-cni', ipam }),
    );
    expect(JSON.parse(second.stdout)).toEqual(pod.result);
    await runtime.check('again');
    expect(await leases()).toHaveLength(2);
  });

  it.each(['0.3.1', '0.4.0', '1.0.0'])('speaks version %s, chained with the tuning plugin', async (version) => {
    const runtime = runtimeWith(
      { ipam: { ranges } },
      [{ type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } }],
      version,
    );
    const pod = await runtime.add('old');
    expect(pod.result.cniVersion).toBe(version);
    expect(pod.result.ips[0]?.version).toBe(version === '1.0.0' ? undefined : '4');
    if (version !== '0.3.1') await runtime.check('old');
    await runtime.remove('old');
    expect(await leases()).toEqual([]);
  });

  it('notices in CHECK what was changed behind its back', async () => {
    const runtime = runtimeWith({ ipam: { ranges } });
    const pod = await runtime.add('c');
    await runtime.exec('c', 'ip', 'addr', 'del', `${pod.ip()}/32`, 'dev', 'eth0');
    await expect(runtime.check('c')).rejects.toMatchObject({ code: 103, message: expect.stringContaining(pod.ip()) });
    await lab.host('node').must('ip', ['link', 'set', pod.result.interfaces[1]?.name as string, 'nomaster']);
    await expect(runtime.check('c')).rejects.toMatchObject({ code: 103 });
    await runtime.remove('c');
    await runtime.remove('c').catch(() => undefined);
  });

  it('adds and deletes a hundred pods in parallel and leaves nothing', async () => {
    const runtime = runtimeWith({ ipam: { ranges } });
    const names = Array.from({ length: 100 }, (_, i) => `many${i}`);
    const pods = await Promise.all(names.map((name) => runtime.add(name)));
    for (const family of [4, 6] as const) expect(new Set(pods.map((pod) => pod.ip(family))).size).toBe(100);
    expect(await pings(runtime, 'many0', (pods[99] as (typeof pods)[number]).ip())).toBe(true);
    await linksAre(101);
    await Promise.all(names.map((name) => runtime.remove(name)));
    await linksAre(1);
    expect(await leases()).toEqual([]);
    expect(await lab.host('node').must('nft', ['list', 'ruleset'])).not.toContain('chain emc');
  });

  it('lets a pod send from its own addresses only', async () => {
    const runtime = runtimeWith({ ipam: { ranges } });
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => runtime.add(name)));
    if (a === undefined || b === undefined || c === undefined) throw new Error('three pods');
    const dropped = async () => {
      const { stdout } = await lab.host('node').exec('nft', ['list', 'table', 'bridge', 'edgemesh_pods']);
      return [...stdout.matchAll(/counter packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
    };
    // Everything that is a pod's own, neighbour discovery among it, passes.
    for (const family of [4, 6] as const) expect(await pings(runtime, 'a', b.ip(family))).toBe(true);
    expect(await dropped()).toBe(0);
    await runtime.exec('a', 'ip', 'addr', 'add', `${b.ip()}/32`, 'dev', 'eth0');
    await runtime.exec('a', 'ip', '-6', 'addr', 'add', `${b.ip(6)}/128`, 'dev', 'eth0', 'nodad');
    const received = async () => {
      const { stdout } = await runtime.exec('c', 'nstat', '-asz', 'IcmpInEchos', 'Icmp6InEchos');
      return [...stdout.matchAll(/InEchos +(\d+)/g)].map(([, count]) => Number(count));
    };
    for (const family of [4, 6] as const) {
      await runtime.exec('a', 'ping', '-c', '2', '-i', '0.05', '-W', '1', '-I', b.ip(family), c.ip(family));
    }
    expect(await received()).toEqual([0, 0]);
    expect(await dropped()).toBeGreaterThanOrEqual(4);
    // Nor with the MAC of another, which the bridge would believe.
    const { mac } = b.result.interfaces[2] as { mac: string };
    await runtime.exec('a', 'ip', 'link', 'set', 'dev', 'eth0', 'address', mac);
    await runtime.exec('a', 'ping', '-c', '1', '-W', '1', c.ip());
    expect(await received()).toEqual([0, 0]);
    expect(await pings(runtime, 'b', c.ip())).toBe(true);
  });

  it('gives a full range back by GC, links included, and says in STATUS that it is full', async () => {
    const runtime = runtimeWith({ ipam: { ranges: ['10.244.9.0/29'] } });
    for (const name of ['1', '2', '3', '4', '5']) await runtime.add(name);
    await expect(runtime.status()).rejects.toMatchObject({ code: 50 });
    await expect(runtime.add('6')).rejects.toMatchObject({ code: 100 });
    await ip('netns', 'del', `${lab.prefix}p-6`);
    // The runtime has forgotten two of them; one namespace still lives.
    const keeper = spawn('ip', ['netns', 'exec', `${lab.prefix}p-2`, 'sleep', '60']);
    await runtime.remove('1', { forget: true });
    await runtime.remove('2', { forget: true });
    await linksAre(5);
    await runtime.gc();
    await linksAre(4);
    expect(await leases()).toHaveLength(3);
    keeper.kill();
    await once(keeper, 'close');
    await runtime.status();
    await runtime.add('7');
  });

  it('survives being killed at any moment: the next ADD works and no address is lost for good', async () => {
    const runtime = runtimeWith({ ipam: { ranges } });
    await ip('netns', 'add', `${lab.prefix}p-k`);
    const env = {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'container-k',
      CNI_IFNAME: 'eth0',
      CNI_NETNS: `/var/run/netns/${lab.prefix}p-k`,
      CNI_PATH: STANDARD_PLUGINS,
    };
    const ipam = { dataDir: join(folder, 'leases'), ranges };
    const input = JSON.stringify({ cniVersion: '1.1.0', name: 'pods', type: 'edgemesh-cni', ipam });
    for (let ms = 30; ms <= 120; ms += 6) {
      const child = spawn('ip', ['netns', 'exec', lab.host('node').netns, process.execPath, PLUGIN], {
        env: { ...process.env, ...env },
      });
      child.stdin.on('error', () => undefined);
      child.stdin.end(input);
      setTimeout(() => child.kill('SIGKILL'), ms);
      await once(child, 'close');
    }
    const { stdout, code } = await runtime.raw(env, input);
    expect({ code, ips: (JSON.parse(stdout) as { ips: unknown[] }).ips.length }).toEqual({ code: 0, ips: 2 });
    expect(await leases()).toHaveLength(2);
    expect((await runtime.exec('k', 'ping', '-c', '1', '-W', '2', '10.244.1.1')).code).toBe(0);
    await ip('netns', 'del', `${lab.prefix}p-k`);
    await runtime.gc();
    expect(await leases()).toEqual([]);
  });

  it('delegates to the standard bridge and host-local plugins with the ranges of the node', async () => {
    await writeFile(
      join(folder, 'node.json'),
      JSON.stringify({ version: 1, nodeName: 'node', podCIDRs: ['10.245.1.0/24'] }),
    );
    const dataDir = join(folder, 'host-local');
    const runtime = runtimeWith({ delegate: { type: 'bridge', ipam: { type: 'host-local', dataDir } } });
    const a = await runtime.add('a');
    const b = await runtime.add('b');
    expect(a.ip()).toBe('10.245.1.2');
    expect(await pings(runtime, 'a', b.ip())).toBe(true);
    await runtime.check('a');
    await runtime.status();
    await runtime.remove('a', { forget: true });
    await runtime.gc();
    expect((await readdir(join(dataDir, 'pods'))).filter((name) => /^\d/.test(name))).toEqual(['10.245.1.3']);
    await runtime.remove('b');
    expect((await readdir(join(dataDir, 'pods'))).filter((name) => /^\d/.test(name))).toEqual([]);
  });

  it('works with host-local below its own bridge', async () => {
    const dataDir = join(folder, 'host-local');
    const runtime = runtimeWith({ ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.246.1.0/24' }]] } });
    await runtime.add('a');
    const b = await runtime.add('b');
    expect(await pings(runtime, 'a', b.ip())).toBe(true);
    await runtime.remove('a', { forget: true });
    await runtime.gc();
    await runtime.remove('b');
    expect((await readdir(join(dataDir, 'pods'))).filter((name) => /^\d/.test(name))).toEqual([]);
    await linksAre(1);
  });

  it('starts by its launcher, which keeps compiled code', async () => {
    const cache = join(folder, 'cache');
    const env = { CNI_COMMAND: 'VERSION', NODE_COMPILE_CACHE: cache, EDGEMESH_HOME: folder };
    const { stdout, code } = await lab.host('node').exec(LAUNCHER, [], { env, input: '{"cniVersion":"1.0.0"}' });
    expect({ code, cniVersion: (JSON.parse(stdout) as { cniVersion: string }).cniVersion }).toEqual({
      code: 0,
      cniVersion: '1.0.0',
    });
    expect((await readdir(cache)).length).toBe(1);
  });

  it('says what is wrong in the way of the specification', async () => {
    const runtime = runtimeWith();
    const pod = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'x', CNI_IFNAME: 'eth0', CNI_NETNS: '/proc/self/ns/net' };
    const codeOf = async (env: Record<string, string>, config: object | string) => {
      const input = typeof config === 'string' ? config : JSON.stringify(config);
      return (JSON.parse((await runtime.raw(env, input)).stdout) as { code: number }).code;
    };
    const good = { cniVersion: '1.1.0', name: 'pods', type: 'edgemesh-cni', nodeFile: join(folder, 'none') };
    expect(await codeOf(pod, { ...good, cniVersion: '9.0.0' })).toBe(1);
    expect(await codeOf({ ...pod, CNI_NETNS: '/etc/hostname' }, good)).toBe(3);
    expect(await codeOf({ ...pod, CNI_IFNAME: 'a/b' }, good)).toBe(4);
    expect(await codeOf({ ...pod, CNI_COMMAND: 'NONSENSE' }, good)).toBe(4);
    expect(await codeOf(pod, 'no json')).toBe(6);
    expect(await codeOf(pod, { ...good, name: '../../etc' })).toBe(7);
    expect(await codeOf(pod, { ...good, delegate: { type: '../sh' } })).toBe(7);
    expect(await codeOf(pod, good)).toBe(11);
    expect(await codeOf({ ...pod, CNI_COMMAND: 'STATUS' }, good)).toBe(50);
    expect(await codeOf({ ...pod, CNI_COMMAND: 'GC' }, { ...good, cniVersion: '1.0.0' })).toBe(1);
  });
});
