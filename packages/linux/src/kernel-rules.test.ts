import type { RulesPlan, ServiceRule } from '@edgemesh/core';
import { createFakeClock, createRecordingLogger } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { cleanupAll } from './cleanup.ts';
import { forgetFlows, staleFlows } from './conntrack/conntrack.ts';
import { LinuxError } from './errors.ts';
import { createRecordingRunner, type RecordedCall } from './exec.ts';
import { createKernelRules, type KernelRulesOptions } from './kernel-rules.ts';

const rule = (more: Partial<ServiceRule> = {}): ServiceRule => ({
  key: 'a',
  family: 4,
  protocol: 'UDP',
  frontends: [{ kind: 'address', address: '10.96.0.1', port: 53, origin: 'any', masquerade: false }],
  routable: [{ address: '10.1.0.1', port: 53, local: true }],
  tunnelled: 0,
  listener: { address: '169.254.96.16', port: 30001 },
  pick: { kind: 'random' },
  whenEmpty: 'reject',
  ...more,
});
const plan = (...rules: ServiceRule[]): RulesPlan => ({ rules, exclusions: [], internalSources: [] });
const isLoad = (call: RecordedCall) => call.command === 'nft' && call.args[0] === '-f';
const tick = () => new Promise((resolve) => setImmediate(resolve));
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await tick();
}

/** Answers as a kernel does that has our table: the check run of the watchdog fails because the chain is in use. */
const healthy = (call: RecordedCall) =>
  call.args[0] === '-c' ? { code: 1, stderr: 'Device or resource busy' } : undefined;

/** Sockets that are served when `failing` is undefined, and count what they are asked. */
function fakeSockets() {
  const state = { failing: undefined as Error | undefined, beats: 0, frontends: 0, disposed: 0 };
  const check = async () => {
    if (state.failing !== undefined) throw state.failing;
  };
  const open: NonNullable<KernelRulesOptions['socketLb']>['open'] = async () => ({
    groups: { all: '/cgroup', pods: { path: '/cgroup/kubepods', inode: 5 }, isWhole: false },
    get frontends() {
      return state.frontends;
    },
    async apply(rules) {
      await check();
      state.frontends = [...rules].length;
    },
    async beat() {
      await check();
      state.beats++;
    },
    [Symbol.dispose]: () => void state.disposed++,
  });
  return { state, options: { open } };
}

const notFirewalld = (call: RecordedCall) =>
  call.args.includes('firewalld') ? { code: 1, stderr: 'No such file or directory' } : healthy(call);

describe('sockets beside the rules', () => {
  const setUp = (answer: typeof healthy = notFirewalld) => {
    const sockets = fakeSockets();
    const clock = createFakeClock();
    const runner = createRecordingRunner(answer);
    const rules = createKernelRules({ runner, clock, socketLb: sockets.options, heartbeatIntervalMs: 1_000 });
    const beat = async () => {
      clock.advance(1_000);
      await settle();
    };
    return { rules, beat, sockets: sockets.state };
  };

  it('are served with every plan and heartbeat, and no more after the end', async () => {
    const { rules, beat, sockets } = setUp();
    await rules.apply(plan(rule()));
    expect(rules.status.socketLb).toEqual({ frontends: 1, pods: '/cgroup/kubepods', isPartial: true });
    await beat();
    expect(sockets.beats).toBe(1);
    await rules.cleanup();
    expect(sockets.disposed).toBe(1);
  });

  it('never keep the rules from being applied, whatever fails, and are tried again', async () => {
    const { rules, beat, sockets } = setUp();
    await using _ = rules;
    sockets.failing = new RangeError('out of range');
    await rules.apply(plan(rule()));
    expect(rules.status).toMatchObject({ state: 'active', socketLb: { frontends: 0, reason: 'out of range' } });
    await beat();
    expect(rules.status.socketLb).toHaveProperty('reason');
    sockets.failing = undefined;
    await beat();
    expect(rules.status.socketLb).not.toHaveProperty('reason');
    expect(sockets.frontends).toBe(1);
  });

  it('are not tried again where time mends nothing', async () => {
    const { rules, beat, sockets } = setUp();
    await using _ = rules;
    sockets.failing = new LinuxError('unsupported', 'an old kernel');
    await rules.apply(plan(rule()));
    sockets.failing = undefined;
    await beat();
    await rules.apply(plan(rule({ key: 'b' })));
    expect(rules.status.socketLb).toMatchObject({ frontends: 0, reason: 'an old kernel' });
  });

  it('are left to the rules beside firewalld', async () => {
    const { rules } = setUp(healthy);
    await using _ = rules;
    await rules.apply(plan(rule()));
    expect(rules.status.socketLb).toMatchObject({ frontends: 0, reason: expect.stringContaining('firewalld') });
  });
});

describe('the kernel rules', () => {
  it('merges applies that wait, and the last plan counts', async () => {
    const runner = createRecordingRunner(healthy);
    await using rules = createKernelRules({ runner, clock: createFakeClock() });
    await rules.apply(plan());
    runner.clear();
    const all = [1, 2, 3].map((n) =>
      rules.apply(plan(rule({ routable: [{ address: `10.1.0.${n}`, port: 53, local: true }] }))),
    );
    expect(new Set(await Promise.all(all)).size).toBe(1);
    const loads = runner.calls.filter(isLoad);
    expect(loads).toHaveLength(1);
    expect(loads[0]!.input).toContain('10.1.0.3');
    expect(loads[0]!.input).not.toContain('10.1.0.1 .');
  });

  it('tries a failed apply again until it succeeds', async () => {
    let broken = true;
    const runner = createRecordingRunner((call) =>
      isLoad(call) && broken ? { code: 1, stderr: 'Error: table full' } : healthy(call),
    );
    const clock = createFakeClock();
    await using rules = createKernelRules({ runner, clock, log: createRecordingLogger() });
    await expect(rules.apply(plan(rule()))).rejects.toMatchObject({ code: 'failed' });
    expect(rules.status).toMatchObject({ state: 'failing', lastError: expect.stringContaining('table full') });
    clock.advance(1_000);
    await settle();
    expect(rules.status.state).toBe('failing');
    broken = false;
    clock.advance(2_000);
    await settle();
    expect(rules.status).toMatchObject({ state: 'active', rules: 1 });
  });

  it('beats every few seconds, and replaces the table when its rules are gone', async () => {
    let flushed = false;
    const runner = createRecordingRunner((call) => (call.args[0] === '-c' && flushed ? { code: 0 } : healthy(call)));
    const clock = createFakeClock();
    await using rules = createKernelRules({ runner, clock, heartbeatIntervalMs: 5_000 });
    await rules.apply(plan(rule()));
    await settle();
    runner.clear();
    clock.advance(5_000);
    await settle();
    const beat = runner.calls.find(isLoad)!.input!;
    expect(beat).toContain('add element inet edgemesh alive { tcp timeout 20s, udp timeout 20s }');
    expect(beat).not.toContain('delete table');
    expect(beat).not.toContain('10.96.0.1');
    flushed = true;
    runner.clear();
    clock.advance(5_000);
    await settle();
    expect(runner.calls.find(isLoad)!.input).toContain('delete table');
    expect(runner.calls.find(isLoad)!.input).toContain('10.96.0.1');
  });

  it('does nothing after cleanup', async () => {
    const runner = createRecordingRunner(healthy);
    const clock = createFakeClock();
    const rules = createKernelRules({ runner, clock });
    await rules.apply(plan(rule()));
    await rules.cleanup();
    expect(runner.calls.filter(isLoad).at(-1)!.input).toBe('add table inet edgemesh\ndelete table inet edgemesh\n');
    runner.clear();
    clock.advance(1_000_000);
    await settle();
    expect(runner.calls).toEqual([]);
  });
});

describe('stale UDP flows', () => {
  const two = [
    { address: '10.1.0.1', port: 53, local: true },
    { address: '10.1.0.2', port: 53, local: true },
  ];
  const spot = { family: 4, address: '10.96.0.1', port: 53 };

  it.each([
    ['an endpoint that went', { before: rule({ routable: two }), after: rule() }, [{ ...spot, from: '10.1.0.2' }]],
    ['a Service that went', { before: rule() }, [{ ...spot, from: '10.1.0.1' }]],
    [
      'the listener, when nothing is remote any more',
      { before: rule({ tunnelled: 1 }), after: rule() },
      [{ ...spot, from: '169.254.96.16' }],
    ],
    ['flows into the void, when a Service comes', { after: rule() }, [{ ...spot, from: '10.96.0.1' }]],
    [
      'the same, when it gets its first endpoint',
      { before: rule({ routable: [] }), after: rule() },
      [{ ...spot, from: '10.96.0.1' }],
    ],
    ['nothing, when an endpoint comes', { before: rule(), after: rule({ routable: two }) }, []],
    ['nothing of TCP', { before: rule({ protocol: 'TCP' }) }, []],
    ['nothing, when there never was an endpoint', { before: rule({ routable: [] }) }, []],
  ])('are %s', (_, touched, expected) => {
    expect(staleFlows([touched])).toEqual(expected);
  });

  it('are deleted one by one, and none to delete is fine', async () => {
    const runner = createRecordingRunner(() => ({
      code: 1,
      stderr: 'conntrack v1.4.7: 0 flow entries have been deleted.',
    }));
    await forgetFlows(runner, [{ family: 6, address: 'fd96::1', port: 53, from: 'fd00::1' }]);
    expect(runner.calls[0]!.args.join(' ')).toBe(
      '-D -f ipv6 -p udp --orig-port-dst 53 --orig-dst fd96::1 --reply-src fd00::1',
    );
  });
});

describe('cleanup', () => {
  it('tries everything whatever fails, and tells', async () => {
    const runner = createRecordingRunner((call) => {
      if (call.command === 'nft') return new LinuxError('missing-tool', 'nft is not installed');
      if (call.args.includes('addr')) return { code: 1, stderr: 'Device "edgemesh0" does not exist.' };
      return { stdout: '[]' };
    });
    expect(await cleanupAll(runner)).toEqual([
      { what: 'nftables', result: 'absent' },
      { what: 'link edgemesh0', result: 'absent' },
    ]);
  });
});
