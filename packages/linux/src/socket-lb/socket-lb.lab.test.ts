import { fileURLToPath } from 'node:url';
import type { RuleExclusion, ServiceRule } from '@edgemesh/core';
import {
  createLab,
  type Lab,
  type LabMachine,
  type LabProcess,
  labMissing,
  pollUntil,
  startResponder,
  tally,
} from '@edgemesh/testkit/netns';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const missing = await labMissing({ ci: process.env.CI !== undefined });
const MAIN = fileURLToPath(new URL('./testing/serve-main.ts', import.meta.url));
/** `ip netns exec` hides control groups. */
const WITH_CGROUPS = 'mount -t cgroup2 none /sys/fs/cgroup; exec "$0" "$@"';
const VIP = '10.96.0.1';
const VIP6 = 'fd00:96::1';
/** Nothing is there to translate, and no route: a Service address that is not served at connect leads nowhere. */
const NOWHERE = { ENETUNREACH: 3 };

describe.skipIf(missing)('sockets of a node without any rules', () => {
  let lab: Lab;
  let node: LabMachine;
  let agent: LabProcess;

  beforeAll(async () => {
    const lan = { lan: 'pods' };
    lab = await createLab({
      lans: { pods: { subnet: '10.244.1.0/24' } },
      ipv6: true,
      hosts: { node: lan, pod1: lan, pod2: lan, pod3: lan },
    });
    node = lab.host('node');
    for (const name of ['pod1', 'pod2', 'pod3']) await startResponder(lab.host(name), { tcp: [8080], host: '::' });
  });
  afterAll(() => lab[Symbol.asyncDispose]());
  beforeEach(async () => {
    agent = await start({ agentTimeoutSeconds: 20 });
  });
  afterEach(() => agent.kill());

  const start = async (options: object) => {
    const args = ['-c', WITH_CGROUPS, process.execPath, '--conditions=@edgemesh/source', MAIN, JSON.stringify(options)];
    const child = node.spawn('sh', args);
    await child.waitForLine('ready');
    return child;
  };
  const order = async (what: object): Promise<string> => {
    const answers = () => agent.lines.filter((line) => line.startsWith('done'));
    const before = answers().length;
    agent.write(`${JSON.stringify(what)}\n`);
    await agent.waitFor(() => answers().length > before, { what: 'an answer' });
    return answers()[before] as string;
  };
  const serve = (rules: readonly ServiceRule[], exclusions: readonly RuleExclusion[] = []) =>
    order({ rules, exclusions });
  const rule = (pods: readonly number[], more: Partial<ServiceRule> = {}): ServiceRule => ({
    key: 'shop/web',
    family: 4,
    protocol: 'TCP',
    frontends: [{ kind: 'address', address: VIP, port: 80, origin: 'any', masquerade: false }],
    routable: pods.map((n) => ({ address: lab.host(`pod${n}`).address(), port: 8080, local: true })),
    tunnelled: 0,
    pick: { kind: 'roundRobin' },
    whenEmpty: 'reject',
    ...more,
  });
  const ask = (count: number, address = VIP, from = node) => tally(from, { address, port: 80, count });

  it('goes in turn', async () => {
    await serve([rule([1, 2, 3])]);
    expect(await ask(9)).toEqual({ pod1: 3, pod2: 3, pod3: 3 });
  });

  it('goes at random', async () => {
    await serve([rule([1, 2, 3], { pick: { kind: 'random' } })]);
    const counts = await ask(60);
    expect(Object.keys(counts).sort()).toEqual(['pod1', 'pod2', 'pod3']);
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(5);
  });

  it('serves IPv6, and IPv4 through IPv6 sockets', async () => {
    const routable = [{ address: lab.host('pod2').address6(), port: 8080, local: true }];
    const frontends = [{ kind: 'address', address: VIP6, port: 80, origin: 'any', masquerade: false }] as const;
    await serve([rule([1]), rule([], { key: 'six', family: 6, frontends, routable })]);
    expect(await ask(2, VIP6)).toEqual({ pod2: 2 });
    expect(await ask(2, `::ffff:${VIP}`)).toEqual({ pod1: 2 });
  });

  it('lets the peer have the name that was asked for, and others their own', async () => {
    await serve([rule([1])]);
    const script = `
      const { connect } = require('node:net');
      for (const [host, port] of [['${VIP}', 80], ['::ffff:${VIP}', 80], ['${lab.host('pod1').address()}', 8080]]) {
        const socket = connect(port, host, () => { console.log(socket.remoteAddress, socket.remotePort); socket.destroy(); });
      }`;
    const said = await node.must(process.execPath, ['-e', script]);
    expect(said.trim().split('\n').sort()).toEqual(
      [`${VIP} 80`, `${lab.host('pod1').address()} 8080`, `::ffff:${VIP} 80`].sort(),
    );
  });

  it('goes to the agent as often as the plan says', async () => {
    const listener = { address: lab.host('pod3').address(), port: 8080 };
    await serve([rule([1], { tunnelled: 2, listener })]);
    expect(await ask(9)).toEqual({ pod1: 3, pod3: 6 });
    await serve([rule([], { tunnelled: 5, listener })]);
    expect(await ask(3)).toEqual({ pod3: 3 });
  });

  it('follows changes, also when thousands of Services make the maps too small', async () => {
    const others = (count: number) =>
      Array.from({ length: count }, (_, n) => {
        const address = `10.97.${n >> 8}.${n & 255}`;
        return rule([2, 3], {
          key: `other-${n}`,
          frontends: [{ kind: 'address', address, port: 80, origin: 'any', masquerade: false }],
        });
      });
    await serve([rule([1])]);
    expect(await serve([rule([1]), ...others(5_000)])).toContain('5001 frontends');
    expect(await ask(3)).toEqual({ pod1: 3 });
    expect(await ask(4, '10.97.19.135')).toEqual({ pod2: 2, pod3: 2 });
    await serve([rule([2, 3]), ...others(5_000)]);
    expect(await ask(4)).toEqual({ pod2: 2, pod3: 2 });
    expect(await serve([rule([2, 3]), ...others(10)])).toContain('11 frontends');
    expect(await ask(3, '10.97.19.135')).toEqual(NOWHERE);
    expect(await ask(2, '10.97.0.9')).toEqual({ pod2: 1, pod3: 1 });
    await serve([]);
    expect(await ask(3)).toEqual(NOWHERE);
  });

  it('gives an address to the rule that has it now', async () => {
    await serve([rule([1])]);
    await serve([rule([2], { key: 'renamed' })]);
    expect(await ask(3)).toEqual({ pod2: 3 });
  });

  it('leaves alone what is excluded, or needs more than a choice', async () => {
    await serve([rule([1])], [{ kind: 'address', address: VIP, protocol: 'TCP', port: 80 }]);
    expect(await ask(3)).toEqual(NOWHERE);
    await serve([rule([1])], [{ kind: 'range', cidr: '10.96.0.0/16' }]);
    expect(await ask(3)).toEqual(NOWHERE);
    await serve([rule([1])], [{ kind: 'address', address: VIP, protocol: 'TCP', port: 81 }]);
    expect(await ask(3)).toEqual({ pod1: 3 });
    await serve([rule([1], { pick: { kind: 'clientIP', timeoutSeconds: 10 } })]);
    expect(await ask(3)).toEqual(NOWHERE);
  });

  it('serves no other network namespace', async () => {
    await serve([rule([1])]);
    expect(await ask(3)).toEqual({ pod1: 3 });
    expect(await ask(3, VIP, lab.host('pod2'))).toEqual(NOWHERE);
  });

  it('stops when the agent is silent, and goes on when it is heard again', async () => {
    await agent.kill();
    agent = await start({ agentTimeoutSeconds: 3 });
    await serve([rule([1])]);
    expect(await ask(3)).toEqual({ pod1: 3 });
    await pollUntil(async () => (await ask(3)).ENETUNREACH === 3, { what: 'the end of an agent that is silent' });
    await order({ beat: true });
    expect(await ask(3)).toEqual({ pod1: 3 });
  });

  it('ends with the agent, however that ends', async () => {
    await serve([rule([1])]);
    await agent.kill('SIGKILL');
    expect(await ask(3)).toEqual(NOWHERE);
  });

  it('says what is missing', async () => {
    const args = ['--conditions=@edgemesh/source', MAIN, '{"agentTimeoutSeconds":20}'];
    const without = await node.exec(process.execPath, args);
    expect(without.stderr).toContain('cgroup v2 is not mounted');
    const named = ['-c', WITH_CGROUPS, process.execPath, ...args.slice(0, 2), '{"podGroup":"no/such"}'];
    expect((await node.exec('sh', named)).stderr).toContain('there is no group of processes /sys/fs/cgroup/no/such');
  });
});
