import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFakePorts, type FakeOptions } from '../testing/fake-ports.ts';
import { runPlugin } from './run.ts';

const RANGES = ['10.244.1.0/24', 'fd44:1::/64'];
const env = (verb: string, id = 'abc') => ({
  CNI_COMMAND: verb,
  CNI_CONTAINERID: id,
  CNI_IFNAME: 'eth0',
  CNI_NETNS: '/run/netns/pod',
  CNI_PATH: '/opt/cni/bin',
});
const conf = (more: object = {}) => ({
  cniVersion: '1.1.0',
  name: 'pods',
  type: 'edgemesh-cni',
  ipam: { ranges: RANGES },
  ...more,
});

function machine(options: FakeOptions = {}) {
  const ports = createFakePorts(options);
  const call = async (verb: string, config: object | string = conf(), id = 'abc') => {
    const stdin = typeof config === 'string' ? config : JSON.stringify(config);
    const { stdout, code } = await runPlugin({ env: env(verb, id), stdin }, ports);
    return { code, json: stdout === '' ? undefined : (JSON.parse(stdout) as Record<string, unknown>) };
  };
  return { ports, call };
}

describe('ADD', () => {
  it('answers with what it made, and asks the kernel for exactly that', async () => {
    const { ports, call } = machine();
    const { json } = await call('ADD');
    expect(json).toMatchObject({
      cniVersion: '1.1.0',
      interfaces: [
        { name: 'emcni0' },
        { name: expect.stringMatching(/^emc[0-9a-z]{12}$/) },
        { name: 'eth0', sandbox: '/run/netns/pod' },
      ],
      ips: [
        { address: '10.244.1.2/32', gateway: '10.244.1.1', interface: 2 },
        { address: 'fd44:1::2/128', gateway: 'fd44:1::1', interface: 2 },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '10.244.1.1' },
        { dst: '::/0', gw: 'fd44:1::1' },
      ],
    });
    const lines = ports.lines();
    expect(lines[0]).toMatch(/^link add name emcni0 address 0a:.* mtu 1500 type bridge$/);
    expect(lines).toContain('addr replace 10.244.1.1/24 dev emcni0');
    expect(lines).toContain('route replace 0.0.0.0/0 via 10.244.1.1 dev eth0 onlink');
    expect(ports.settings.get('net/ipv4/ip_forward')).toBe('1');
  });

  it('does not touch a bridge that is as it should be', async () => {
    const { ports, call } = machine({ bridge: { addresses: ['10.244.1.1', 'fd44:1::1'], mac: 'x' } });
    await call('ADD');
    expect(ports.lines().some((line) => line.includes('type bridge') && !line.includes('bridge_slave'))).toBe(false);
    expect(ports.calls.filter(({ command }) => command !== 'nft')).toHaveLength(2);
  });

  it('guards the port before the pod can send, and says what to do where that cannot be', async () => {
    const { ports, call } = machine();
    await call('ADD');
    const at = (is: (call: (typeof ports.calls)[number]) => boolean) => ports.calls.findIndex(is);
    const guarded = at(({ command, input }) => command === 'nft' && input.includes('ip saddr { 10.244.1.2 } accept'));
    expect(guarded).toBeGreaterThanOrEqual(0);
    expect(guarded).toBeLessThan(at(({ input }) => input.includes('type veth')));
    const without = machine({ answer: ({ command }) => (command === 'nft' ? { code: 1, stderr: 'no' } : undefined) });
    expect(await without.call('ADD')).toMatchObject({
      json: { code: 101, details: expect.stringContaining('spoofCheck: false') },
    });
    expect(await without.call('ADD', conf({ spoofCheck: false }))).toMatchObject({ code: 0 });
    expect(await without.call('DEL')).toMatchObject({ code: 0 });
  });

  it('makes a bridge no larger than its ports', async () => {
    const { ports, call } = machine({ bridge: { addresses: ['10.244.1.1', 'fd44:1::1'], mac: 'x' } });
    ports.disk.set('/sys/class/net/emcni0/mtu', '1500\n');
    await call('ADD', conf({ mtu: 9000 }), 'large');
    expect(ports.lines()).not.toContain('link set dev emcni0 mtu 9000');
    await call('ADD', conf({ mtu: 1400 }), 'small');
    expect(ports.lines()).toContain('link set dev emcni0 mtu 1400');
  });

  it('gives an address back when the kernel refuses the link', async () => {
    const { ports, call } = machine({
      answer: ({ command, args }) =>
        command === 'nsenter' && args.includes('sh')
          ? { code: 1, stderr: 'Cannot find device "eth0"\nCommand failed -:2\n' }
          : undefined,
    });
    expect(await call('ADD')).toMatchObject({
      code: 1,
      json: { code: 101, msg: expect.stringContaining('Cannot find device') },
    });
    expect([...ports.disk.keys()].filter((path) => !path.includes('/last.'))).toEqual([]);
    expect(ports.lines().at(-1)).toMatch(/^link del dev emc/);
  });

  it('takes an old ip that does not know gso_max_size', async () => {
    const { call } = machine({
      answer: ({ command, input }) => {
        const at = input.split('\n').findIndex((line) => line.includes('gso_max_size')) + 1;
        return command === 'nsenter' ? { code: 1, stderr: `Error: unknown\nCommand failed -:${at}\n` } : undefined;
      },
    });
    expect(await call('ADD')).toMatchObject({ code: 0 });
  });

  it('says try again while the agent has not told the node its ranges', async () => {
    const { call, ports } = machine();
    expect(await call('ADD', conf({ ipam: {} }))).toMatchObject({
      json: { code: 11, details: expect.stringContaining('cni-node.json') },
    });
    ports.disk.set('/var/lib/edgemesh/cni-node.json', JSON.stringify({ podCIDRs: ['10.9.0.0/24'], mtu: 1400 }));
    expect(await call('ADD', conf({ ipam: {} }))).toMatchObject({
      json: { ips: [{ address: '10.9.0.2/32' }], interfaces: [{ mtu: 1400 }, {}, {}] },
    });
    ports.disk.set('/var/lib/edgemesh/cni-node.json', '{');
    expect(await call('ADD', conf({ ipam: {} }))).toMatchObject({ json: { code: 6 } });
  });

  it('keeps what an earlier plugin of the chain made', async () => {
    const { call } = machine();
    const prevResult = {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'lo0' }],
      ips: [{ address: '10.1.1.1/24', interface: 0 }],
    };
    expect((await call('ADD', conf({ prevResult }))).json).toMatchObject({
      interfaces: [{ name: 'lo0' }, {}, {}, { name: 'eth0' }],
      ips: [{ address: '10.1.1.1/24', interface: 0 }, { interface: 3 }, { interface: 3 }],
    });
  });

  it.each([
    ['0.3.1', { version: '4' }],
    ['0.4.0', { version: '4' }],
    ['1.0.0', {}],
  ])('answers version %s in its own form', async (cniVersion, extra) => {
    const { json } = await machine().call('ADD', conf({ cniVersion }));
    const { ips, interfaces } = json as { ips: unknown[]; interfaces: { mtu?: number }[] };
    expect(ips[0]).toEqual({ ...extra, address: '10.244.1.2/32', gateway: '10.244.1.1', interface: 2 });
    expect(interfaces[2]?.mtu).toBeUndefined();
  });
});

describe('DEL', () => {
  it('deletes the link before it gives the address back, twice if need be, without namespace or prevResult', async () => {
    const { ports, call } = machine({
      answer: ({ input }) =>
        /^link del/.test(input) ? { code: 1, stderr: 'Cannot find device "x"\nCommand failed -:1\n' } : undefined,
    });
    await call('ADD');
    for (let i = 0; i < 2; i++) expect(await call('DEL')).toEqual({ code: 0, json: undefined });
    expect([...ports.disk.keys()].filter((path) => !path.includes('/last.'))).toEqual([]);
  });

  it('keeps the address when the link cannot be deleted', async () => {
    const { ports, call } = machine({
      answer: ({ input }) =>
        /^link del/.test(input) ? { code: 1, stderr: 'Operation not permitted\nCommand failed -:1\n' } : undefined,
    });
    await call('ADD');
    expect(await call('DEL')).toMatchObject({ json: { code: 101 } });
    expect(ports.disk.has('/var/lib/cni/edgemesh/pods/10.244.1.2')).toBe(true);
  });
});

describe('delegation', () => {
  const delegated = conf({ delegate: { type: 'bridge', ipam: { type: 'host-local' } } });
  const answers = {
    VERSION: { supportedVersions: ['1.0.0'] },
    ADD: {
      cniVersion: '1.0.0',
      interfaces: [{ name: 'eth0', sandbox: '/run/netns/pod' }],
      ips: [{ address: '10.244.1.9/24', interface: 0 }],
    },
  };
  const standard = (): FakeOptions => ({
    programs: ['bridge', 'host-local'],
    answer: ({ env: variables }) => ({ stdout: JSON.stringify(answers[variables?.CNI_COMMAND as 'ADD'] ?? {}) }),
  });

  it('fills in the ranges and speaks a version that every plugin knows', async () => {
    const { ports, call } = machine(standard());
    expect(await call('ADD', delegated)).toMatchObject({
      json: { cniVersion: '1.1.0', ips: [{ address: '10.244.1.9/24' }] },
    });
    expect(JSON.parse(ports.calls[0]?.input as string)).toMatchObject({
      cniVersion: '1.0.0',
      name: 'pods',
      bridge: 'emcni0',
      isGateway: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.1.0/24' }], [{ subnet: 'fd44:1::/64' }]] },
    });
  });

  it('makes GC out of DEL for plugins that know no GC', async () => {
    const { ports, call } = machine(standard());
    await call('ADD', delegated, 'keep');
    await call('ADD', delegated, 'lost');
    await call('GC', { ...delegated, 'cni.dev/valid-attachments': [{ containerID: 'keep', ifname: 'eth0' }] });
    const deletes = ports.calls.filter((one) => one.env?.CNI_COMMAND === 'DEL');
    expect(deletes.map((one) => [one.env?.CNI_CONTAINERID, one.env?.CNI_NETNS])).toEqual([['lost', '']]);
  });

  it('passes the error of a delegate on, and says when there is none', async () => {
    const failing = {
      programs: ['bridge'],
      answer: () => ({ code: 1, stdout: JSON.stringify({ code: 7, msg: 'bad', details: 'very' }) }),
    };
    expect(await machine(failing).call('ADD', delegated)).toMatchObject({
      json: { code: 7, msg: 'bridge: bad', details: 'very' },
    });
    expect(await machine().call('ADD', delegated)).toMatchObject({
      json: { code: 102, msg: expect.stringContaining('bridge') },
    });
  });
});

describe('GC', () => {
  it('wants to be told what to keep', async () => {
    expect(await machine().call('GC')).toMatchObject({ json: { code: 7 } });
  });

  it('also takes back what a power cut left unreadable', async () => {
    const { ports, call } = machine();
    ports.disk.set('/var/lib/cni/edgemesh/pods/10.244.1.77', '');
    await call('GC', conf({ 'cni.dev/valid-attachments': [] }));
    expect(ports.disk.has('/var/lib/cni/edgemesh/pods/10.244.1.77')).toBe(false);
  });
});

describe('the plugin', () => {
  it('answers whatever it is given with JSON and never throws', async () => {
    const words = fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'x');
    const json = fc.oneof(
      fc.json(),
      fc.string(),
      fc.jsonValue().map((value) => JSON.stringify({ ...conf(), ipam: value, prevResult: value, mtu: value })),
    );
    await fc.assert(
      fc.asyncProperty(words, json, fc.string(), async (verb, stdin, id) => {
        const { stdout, code } = await runPlugin(
          { env: { ...env(verb), CNI_CONTAINERID: id || 'a' }, stdin },
          createFakePorts(),
        );
        if (code === 0) return;
        const error = JSON.parse(stdout) as { code: number; msg: string };
        expect(error.code).toBeGreaterThan(0);
        expect(error.msg.length).toBeGreaterThan(0);
      }),
      { numRuns: 300 },
    );
  });
});
