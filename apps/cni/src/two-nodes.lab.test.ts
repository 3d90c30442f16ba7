import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLab, type Lab, labMissing } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LabNode, nodeSpec, pings, startNode, startRelay } from './testing/mesh.ts';
import type { Pod } from './testing/runtime.ts';

const missing = await labMissing({ ci: process.env.CI !== undefined });

/** The nodes of all labs here. */
const bothOf = (lab: Lab, ipv6 = true) => [nodeSpec(lab.host('left'), 1, ipv6), nodeSpec(lab.host('right'), 2, ipv6)];

const relaysOf = (lab: Lab) => [`${lab.host('cloud').address()}:20006`];

/** What was not started is undefined. */
async function tearDown(lab: Lab, folder: string, ...nodes: readonly (LabNode | undefined)[]): Promise<void> {
  for (const node of nodes) {
    for (const name of node?.runtime.pods.keys() ?? []) await node?.runtime.remove(name);
  }
  await lab[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
}

/** 20 MB through TCP, by the sum at both ends. */
async function transfer(from: LabNode, to: LabNode, address: string): Promise<boolean> {
  const family = address.includes(':') ? '-6' : '-4';
  const listen = to.runtime.exec('pod', 'sh', '-c', `timeout 20 nc ${family} -l -p 7777 </dev/null | sha256sum`);
  await expect.poll(async () => (await to.runtime.exec('pod', 'ss', '-Htln')).stdout).toContain(':7777');
  const send = `head -c 20000000 /dev/urandom >"$f"; timeout 20 nc -q 1 ${address} 7777 <"$f"; sha256sum <"$f"`;
  const sent = await from.runtime.exec('pod', 'sh', '-c', `f=$(mktemp); ${send}; rm "$f"`);
  return (await listen).stdout === sent.stdout;
}

/** UDP datagrams of iperf3, several of them in one packet where the kernel can; the share that was lost (a busy machine loses some by itself). */
async function udpLoss(from: LabNode, to: LabNode, address: string): Promise<number> {
  const server = to.runtime.exec('pod', 'timeout', '20', 'iperf3', '-s', '-1');
  await expect.poll(async () => (await to.runtime.exec('pod', 'ss', '-Htln')).stdout).toContain(':5201');
  const { stdout } = await from.runtime.exec(
    'pod',
    'iperf3',
    '-c',
    address,
    '-u',
    '-b',
    '5M',
    '-t',
    '1',
    '-l',
    '1200',
    '-J',
  );
  await server;
  return (JSON.parse(stdout) as { end: { sum: { lost_percent: number } } }).end.sum.lost_percent;
}

async function provesEverything(left: LabNode, right: LabNode, a: Pod, b: Pod, mtu = 1500): Promise<void> {
  for (const family of [4, 6] as const) {
    await expect.poll(() => pings(left.runtime, 'pod', b.ip(family)), { timeout: 15_000 }).toBe(true);
    await expect.poll(() => pings(right.runtime, 'pod', a.ip(family)), { timeout: 15_000 }).toBe(true);
    const overhead = family === 4 ? 28 : 48;
    const sized = (size: number, ...more: string[]) =>
      pings(left.runtime, 'pod', b.ip(family), '-s', `${size}`, ...more);
    await expect.poll(() => sized(mtu - overhead, '-M', 'do'), { timeout: 15_000 }).toBe(true);
    expect(await sized(mtu + 1 - overhead, '-M', 'do')).toBe(false);
    // Larger ones travel as fragments.
    await expect.poll(() => sized(9_000), { timeout: 15_000 }).toBe(true);
    expect(await transfer(left, right, b.ip(family))).toBe(true);
    expect(await udpLoss(left, right, b.ip(family))).toBeLessThan(20);
  }
}

describe.skipIf(missing !== undefined)('two nodes on one LAN', () => {
  let lab: Lab;
  let folder: string;
  let left: LabNode;
  let right: LabNode;
  beforeAll(async () => {
    lab = await createLab({ ipv6: true, hosts: { left: { lan: 'office' }, right: { lan: 'office' } } });
    folder = await mkdtemp(join(tmpdir(), 'cni-lab-'));
    const nodes = bothOf(lab);
    const start = (name: string) =>
      startNode({ host: lab.host(name), folder, prefix: `${lab.prefix}${name}-`, nodes, more: { probe: true } });
    [left, right] = await Promise.all([start('left'), start('right')]);
  });
  afterAll(() => tearDown(lab, folder, left, right));
  const routeTo = async (name: string, cidr: string) => {
    const { stdout } = await lab.host(name).exec('ip', ['route', 'show', cidr]);
    return stdout;
  };

  it('route to each other directly once each has proved who it is, and carry everything', async () => {
    const [a, b] = await Promise.all([left.runtime.add('pod'), right.runtime.add('pod')]);
    await expect
      .poll(() => routeTo('left', '10.244.2.0/24'), { timeout: 5_000 })
      .toContain(lab.host('right').address());
    await expect
      .poll(() => routeTo('right', '10.244.1.0/24'), { timeout: 5_000 })
      .toContain(lab.host('left').address());
    await provesEverything(left, right, a, b);
    expect((await left.status()).counters['edgemesh_cni_packets_total out'] ?? 0).toBeLessThan(20);
  });

  it('decrement the TTL at each hop and say so when it is used up', async () => {
    const b = right.runtime.pods.get('pod') as Pod;
    const { stdout } = await left.runtime.exec('pod', 'ping', '-c', '1', '-t', '1', '-W', '2', b.ip());
    expect(stdout).toContain('Time to live exceeded');
    expect((await left.runtime.exec('pod', 'ping', '-c', '1', '-t', '3', '-W', '2', b.ip())).code).toBe(0);
  });

  it('follow nodes that join, change their ranges and leave, within 5 s', async () => {
    const base = bothOf(lab);
    const third = { name: 'third', labels: {}, internalIPs: ['10.99.0.3'], podCIDRs: ['10.244.3.0/24', 'fd44:3::/64'] };
    left.setNodes([...base, third]);
    await expect.poll(() => routeTo('left', '10.244.3.0/24'), { timeout: 5_000 }).toContain('dev edgemesh-tun');
    left.setNodes([...base, { ...third, podCIDRs: ['10.244.33.0/24'] }]);
    await expect.poll(() => routeTo('left', '10.244.33.0/24'), { timeout: 5_000 }).toContain('proto 94');
    expect(await routeTo('left', '10.244.3.0/24')).toBe('');
    left.setNodes(base);
    await expect.poll(() => routeTo('left', '10.244.33.0/24'), { timeout: 5_000 }).toBe('');
  });

  it('leave routes of another CNI alone', async () => {
    await lab.host('left').must('ip', ['route', 'add', '10.244.7.0/24', 'via', lab.host('right').address()]);
    const other = { name: 'other', labels: {}, internalIPs: [], podCIDRs: ['10.244.7.0/24'] };
    left.setNodes([...bothOf(lab), other]);
    await expect
      .poll(async () => (await left.status()).skipped, { timeout: 5_000 })
      .toMatchObject([{ cidr: '10.244.7.0/24', reason: 'foreign' }]);
    expect(await routeTo('left', '10.244.7.0/24')).not.toContain('proto 94');
  });

  it('take all routes and the device with them when they stop', async () => {
    expect(await right.process.kill()).toBe(0);
    const { stdout } = await lab.host('right').exec('ip', ['route']);
    expect(stdout).not.toContain('proto 94');
    expect((await lab.host('right').exec('ip', ['link', 'show', 'edgemesh-tun'])).code).not.toBe(0);
  });
});

describe.skipIf(missing !== undefined)('two nodes behind different NATs', () => {
  let lab: Lab;
  let folder: string;
  let left: LabNode;
  let right: LabNode;
  beforeAll(async () => {
    lab = await createLab({
      hosts: { left: { lan: 'home' }, right: { lan: 'office' }, cloud: { lan: 'internet' } },
      routers: { homeNat: { lan: 'home', nat: 'symmetric' }, officeNat: { lan: 'office' } },
    });
    folder = await mkdtemp(join(tmpdir(), 'cni-lab-'));
    await startRelay(lab.host('cloud'), folder);
    const nodes = bothOf(lab, false);
    const relays = relaysOf(lab);
    // What a pod's own node would keep back already is to be refused by the other one.
    const plugin = { spoofCheck: false };
    const start = (name: string, more = {}) =>
      startNode({ host: lab.host(name), folder, prefix: `${lab.prefix}${name}-`, nodes, relays, more, plugin });
    [left, right] = await Promise.all([start('left', { probe: true }), start('right', { probe: true })]);
  });
  afterAll(() => tearDown(lab, folder, left, right));

  it('carry everything over the tunnel', async () => {
    const [a, b] = await Promise.all([left.runtime.add('pod'), right.runtime.add('pod')]);
    await provesEverything(left, right, a, b);
    const { counters, peers, paths } = await left.status();
    expect(paths).toMatchObject([{ kind: 'tunnel' }, { kind: 'tunnel' }]);
    expect(counters['edgemesh_cni_packets_total out']).toBeGreaterThan(100);
    expect(peers[0]?.path).toMatch(/relayed|punched/);
  });

  it('let the node itself reach remote pods, and answer with an address that is accepted', async () => {
    const b = right.runtime.pods.get('pod') as Pod;
    expect((await lab.host('left').exec('ping', ['-c', '2', '-W', '2', b.ip()])).code).toBe(0);
    const { stdout } = await left.runtime.exec('pod', 'ping', '-c', '1', '-t', '2', '-W', '2', b.ip());
    expect(stdout).toContain('From 10.244.2.1');
    expect(stdout).toContain('Time to live exceeded');
  });

  it('drop what a node sends with addresses that are not its own', async () => {
    const b = right.runtime.pods.get('pod') as Pod;
    await left.runtime.exec('pod', 'ip', 'addr', 'add', '10.99.99.99/32', 'dev', 'eth0');
    const { stdout } = await left.runtime.exec(
      'pod',
      'ping',
      '-c',
      '2',
      '-i',
      '0.1',
      '-W',
      '1',
      '-I',
      '10.99.99.99',
      b.ip(),
    );
    expect(stdout).toContain('100% packet loss');
    expect((await right.status()).counters['edgemesh_cni_packets_dropped_total in source']).toBeGreaterThanOrEqual(2);
  });

  it('come to no harm when a tenth of the packets is damaged on purpose', async () => {
    await left.process.kill();
    const nodes = bothOf(lab, false);
    const relays = relaysOf(lab);
    const old = left.runtime;
    left = {
      ...(await startNode({
        host: lab.host('left'),
        folder,
        prefix: `${lab.prefix}left-`,
        nodes,
        relays,
        more: { malformed: 0.1 },
      })),
      runtime: old,
    };
    const b = right.runtime.pods.get('pod') as Pod;
    await expect
      .poll(() => old.exec('pod', 'ping', '-c', '1', '-W', '1', b.ip()).then(({ code }) => code), { timeout: 15_000 })
      .toBe(0);
    const { stdout } = await old.exec('pod', 'ping', '-c', '300', '-i', '0.005', '-W', '1', '-q', b.ip());
    const loss = Number(/([\d.]+)% packet loss/.exec(stdout)?.[1]);
    expect(loss).toBeGreaterThan(1);
    expect(loss).toBeLessThan(25);
    // What is written into a header may be a RST: then that connection is over, and the next one has its chance.
    await expect.poll(() => transfer(left, right, b.ip()), { timeout: 90_000 }).toBe(true);
    const { counters } = await right.status();
    const dropped = Object.entries(counters).filter(([name]) =>
      name.startsWith('edgemesh_cni_packets_dropped_total in'),
    );
    expect(dropped.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThan(10);
    expect((await right.status()).error).toBeUndefined();
  });
});

describe.skipIf(missing !== undefined)('two nodes behind NATs that can be punched', () => {
  it('reach each other without the relay in between, and when it is gone', async () => {
    await using lab = await createLab({
      hosts: { left: { lan: 'home' }, right: { lan: 'office' }, cloud: { lan: 'internet' } },
      routers: { homeNat: { lan: 'home' }, officeNat: { lan: 'office' } },
    });
    const folder = await mkdtemp(join(tmpdir(), 'cni-lab-'));
    const relay = await startRelay(lab.host('cloud'), folder);
    const nodes = bothOf(lab, false);
    const relays = relaysOf(lab);
    const start = (name: string) =>
      startNode({ host: lab.host(name), folder, prefix: `${lab.prefix}${name}-`, nodes, relays });
    const [left, right] = await Promise.all([start('left'), start('right')]);
    try {
      const [, b] = await Promise.all([left.runtime.add('pod'), right.runtime.add('pod')]);
      await expect.poll(() => pings(left.runtime, 'pod', b.ip()), { timeout: 15_000 }).toBe(true);
      const path = async () => (await left.status()).peers[0]?.path;
      await expect.poll(path, { timeout: 30_000, interval: 500 }).toBe('punched');
      await relay.kill();
      expect(await pings(left.runtime, 'pod', b.ip())).toBe(true);
      expect(await transfer(left, right, b.ip())).toBe(true);
    } finally {
      await Promise.all([left.runtime.remove('pod'), right.runtime.remove('pod')]);
      await rm(folder, { recursive: true });
    }
  });
});

describe.skipIf(missing !== undefined)('two nodes on a LAN that takes no packets of pods', () => {
  let lab: Lab;
  let folder: string;
  let left: LabNode;
  let right: LabNode;
  beforeAll(async () => {
    lab = await createLab({
      ipv6: true,
      hosts: { left: { lan: 'office' }, right: { lan: 'office' }, third: { lan: 'office' } },
    });
    folder = await mkdtemp(join(tmpdir(), 'cni-lab-'));
    const nodes = bothOf(lab);
    const more = { probe: true, vxlan: true, mtu: 1_450 };
    const start = async (name: string) => {
      const rules =
        'table inet switch { chain in { type filter hook prerouting priority -400; iifname eth0 ip saddr 10.244.0.0/16 drop; iifname eth0 ip6 saddr fd44::/16 drop; }; }';
      await lab.host(name).must('nft', [rules]);
      return startNode({ host: lab.host(name), folder, prefix: `${lab.prefix}${name}-`, nodes, more });
    };
    [left, right] = await Promise.all([start('left'), start('right')]);
  });
  afterAll(() => tearDown(lab, folder, left, right));

  it('carry everything by VXLAN', async () => {
    const [a, b] = await Promise.all([left.runtime.add('pod'), right.runtime.add('pod')]);
    for (const [node, other] of [
      [left, 'right'],
      [right, 'left'],
    ] as const) {
      const remote = lab.host(other).address();
      const isVxlan = { kind: 'vxlan', remote };
      await expect.poll(async () => (await node.status()).paths, { timeout: 30_000 }).toMatchObject([isVxlan, isVxlan]);
    }
    await provesEverything(left, right, a, b, 1_450);
    expect((await left.status()).counters['edgemesh_cni_packets_total out'] ?? 0).toBeLessThan(20);
  });

  it('take it from each other only', async () => {
    const b = right.runtime.pods.get('pod') as Pod;
    const third = lab.host('third');
    const mac = JSON.parse(await lab.host('right').must('ip', ['-j', 'link', 'show', 'edgemesh-vxlan']))[0]
      .address as string;
    const lines = [
      'ip link add vx type vxlan id 94 dstport 8472 nolearning',
      'ip addr add 10.244.1.77/32 dev vx',
      'ip link set vx up',
      `bridge fdb append ${mac} dev vx dst ${lab.host('right').address()}`,
      `ip neigh add ${b.ip()} lladdr ${mac} dev vx`,
      `ip route add ${b.ip()} dev vx src 10.244.1.77`,
    ];
    await third.must('sh', ['-ec', lines.join('\n')]);
    const echos = async () => (await right.runtime.exec('pod', 'nstat', '-asz', 'IcmpInEchos')).stdout;
    const before = await echos();
    await third.exec('ping', ['-c', '2', '-i', '0.1', '-W', '1', b.ip()]);
    expect(await echos()).toBe(before);
    const rules = await lab.host('right').must('nft', ['list', 'table', 'inet', 'edgemesh_vxlan']);
    expect(rules).toMatch(/ip saddr != .* counter packets [1-9]/);
  });

  it('leave no device and no rules when they stop', async () => {
    await left.process.kill();
    const { stdout } = await lab.host('left').exec('sh', ['-c', 'ip -o link; nft list tables; ip route show proto 94']);
    expect(stdout).not.toMatch(/vxlan|proto 94/);
  });
});
