import { fileURLToPath } from 'node:url';
import { createLab, type Lab, type LabMachine, type LabProcess, labMissing } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const missing = await labMissing({ ci: process.env.CI !== undefined });
const PIPE = fileURLToPath(new URL('./tun-pipe.ts', import.meta.url));

describe.skipIf(missing)('a TUN device', () => {
  let lab: Lab;
  let a: LabMachine;
  let b: LabMachine;
  let left: LabProcess;

  beforeAll(async () => {
    lab = await createLab({ ipv6: true, hosts: { a: { lan: 'internet' }, b: { lan: 'internet' } } });
    a = lab.host('a');
    b = lab.host('b');
    const right = b.node(PIPE, ['{"name":"tun0","listen":9000}']);
    await right.waitForLine('ready');
    left = a.node(PIPE, [JSON.stringify({ name: 'tun0', connect: b.address(), port: 9000 })]);
    await Promise.all([left.waitForLine('joined tso'), right.waitForLine('joined tso')]);
    for (const [machine, n] of [
      [a, 1],
      [b, 2],
    ] as const) {
      await machine.must('ip', ['addr', 'add', `10.99.0.${n}/24`, 'dev', 'tun0']);
      await machine.must('ip', ['addr', 'add', `fd99::${n}/64`, 'dev', 'tun0', 'nodad']);
    }
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it.each(['10.99.0.2', 'fd99::2'])('carries pings of all sizes to %s', async (address) => {
    for (const size of ['8', '1300', '8000', '60000']) {
      const { stdout, code } = await a.exec('ping', ['-c', '3', '-i', '0.05', '-W', '2', '-s', size, address]);
      expect(`${size}: ${code} ${/(\d+)% packet loss/.exec(stdout)?.[1]}`).toBe(`${size}: 0 0`);
    }
  });

  it('carries a big transfer unharmed, both ways at once', async () => {
    const make = 'openssl enc -aes-128-ctr -pass pass:x -pbkdf2 -nosalt </dev/zero 2>/dev/null | head -c 100000000';
    const expected = (await a.must('sh', ['-c', `${make} | sha256sum`])).trim();
    const receive = (machine: LabMachine, port: string) => {
      const process = machine.spawn('sh', ['-c', `nc -n -v -l -p ${port} </dev/null | sha256sum`]);
      return process.waitForLine(/listening/i).then(() => process);
    };
    const receivers = await Promise.all([receive(b, '7001'), receive(a, '7002')]);
    const send = (machine: LabMachine, to: string, port: string) =>
      machine.must('sh', ['-c', `${make} | nc -n -N ${to} ${port}`], {
        timeoutMs: 60_000,
      });
    await Promise.all([send(a, '10.99.0.2', '7001'), send(b, '10.99.0.1', '7002')]);
    for (const receiver of receivers)
      expect(await receiver.waitForLine(/^[0-9a-f]{64}/, { timeoutMs: 60_000 })).toBe(expected);
  });

  it('is fast because the kernel segments', async () => {
    const server = b.spawn('iperf3', ['-s', '--forceflush']);
    await server.waitForLine('listening');
    const measure = async (address: string, ...more: string[]) => {
      const out = await a.must('iperf3', ['-c', address, '-t', '3', '-J', ...more], { timeoutMs: 30_000 });
      return Math.round(JSON.parse(out).end.sum_received.bits_per_second / 1e6);
    };
    const wire = await measure(b.address());
    const tunnel = await measure('10.99.0.2');
    const four = await measure('10.99.0.2', '-P', '4');
    console.log(JSON.stringify({ wireMbit: wire, tunMbit: tunnel, tunFourMbit: four }));
    // Without offload it is a thirtieth of the wire.
    expect(tunnel / wire).toBeGreaterThan(0.1);
    await server.kill();
  });

  it('refuses a device that another process has, and goes when it is closed', async () => {
    const second = a.node(PIPE, ['{"name":"tun0","listen":9100}']);
    expect(await second.exited).not.toBe(0);
    expect(second.lines.join('\n')).toContain('in use by another process');
    expect(await left.kill()).toBe(0);
    expect((await a.exec('ip', ['link', 'show', 'tun0'])).code).not.toBe(0);
  });
});
