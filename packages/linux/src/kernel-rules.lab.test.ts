import type { RulesPlan, ServiceRule } from '@edgemesh/core';
import { createRecordingLogger } from '@edgemesh/testkit';
import {
  createLab,
  type Lab,
  type LabMachine,
  labMissing,
  pollUntil,
  startResponder,
  tally,
} from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cleanupAll } from './cleanup.ts';
import { createRunner } from './exec.ts';
import { createKernelRules, type KernelRulesOptions } from './kernel-rules.ts';
import { ensureLink } from './link/link.ts';

const missing = await labMissing({ ci: process.env.CI !== undefined });
const VIP = '10.96.0.1';
const BRIDGE = '169.254.96.16';
const LINK = { name: 'edgemesh0', addresses: [BRIDGE], fallbackRoutes: ['10.96.0.0/16'] };

/** A node without a default route, cut off from everything but its own pods. */
describe.skipIf(missing)('the kernel side of a node', () => {
  let lab: Lab;
  let node: LabMachine;

  beforeAll(async () => {
    lab = await createLab({
      lans: { pods: { subnet: '10.244.1.0/24' } },
      hosts: {
        node: { lan: 'pods', address: '10.244.1.1', forwarding: true },
        pod1: { lan: 'pods' },
        pod2: { lan: 'pods' },
      },
    });
    node = lab.host('node');
    for (const name of ['pod1', 'pod2']) await startResponder(lab.host(name), { tcp: [8080], udp: [8053] });
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const runner = () => createRunner({ netns: node.netns });
  const create = (more: Partial<KernelRulesOptions> = {}) =>
    createKernelRules({ runner: runner(), link: LINK, heartbeatIntervalMs: 100, verifyIntervalMs: 300, ...more });
  const rule = (pods: readonly number[], more: Partial<ServiceRule> = {}): ServiceRule => ({
    key: 'shop/web:http:TCP',
    family: 4,
    protocol: 'TCP',
    frontends: [{ kind: 'address', address: VIP, port: 80, origin: 'any', masquerade: false }],
    routable: pods.map((n) => ({ address: lab.host(`pod${n}`).address(), port: 8080, local: true })),
    tunnelled: 0,
    listener: { address: BRIDGE, port: 30001 },
    pick: { kind: 'random' },
    whenEmpty: 'reject',
    ...more,
  });
  const plan = (...rules: ServiceRule[]): RulesPlan => ({ rules, exclusions: [], internalSources: [] });
  const everything = async () => {
    const parts = [
      ['nft', 'list', 'ruleset'],
      ['ip', 'addr'],
      ['ip', 'rule'],
      ['ip', '-6', 'rule'],
      ['ip', 'route', 'show', 'table', 'all'],
      ['ip', '-6', 'route', 'show', 'table', 'all'],
    ];
    const texts = await Promise.all(parts.map(([command, ...args]) => node.must(command!, args)));
    return texts.join('\n').replace(/valid_lft.*\n|<.*|state \w+/g, '');
  };

  it('serves without any default route, and leaves nothing behind', async () => {
    const before = await everything();
    const rules = create();
    expect(rules.status.state).toBe('idle');
    await rules.apply(plan(rule([1, 2])));
    expect(Object.keys(await tally(node, { address: VIP, port: 80, count: 30 })).sort()).toEqual(['pod1', 'pod2']);
    expect(rules.status).toMatchObject({ state: 'active', rules: 1, degraded: [] });
    await rules.cleanup();
    await rules.cleanup();
    expect(await everything()).toBe(before);
    await expect(rules.apply(plan())).rejects.toMatchObject({ code: 'aborted' });
  });

  it('repairs link and rules by itself', async () => {
    await using rules = create();
    await rules.apply(plan(rule([1])));
    const answers = async () => (await tally(node, { address: VIP, port: 80 })).pod1 === 1;
    expect(await answers()).toBe(true);
    await node.must('nft', ['flush', 'ruleset']);
    await pollUntil(answers, { what: 'the rules are back' });
    await node.must('ip', ['link', 'del', 'edgemesh0']);
    await pollUntil(answers, { what: 'the link is back' });
    await node.must('ip', ['addr', 'del', `${BRIDGE}/32`, 'dev', 'edgemesh0']);
    await pollUntil(async () => (await node.must('ip', ['addr'])).includes(BRIDGE), { what: 'the address is back' });
  });

  it('moves a UDP client that keeps its port when its endpoint goes', async () => {
    await using rules = create();
    const udp = { protocol: 'UDP', frontends: [{ ...rule([]).frontends[0]!, port: 53 }] } as const;
    const to = (n: number) =>
      rule([], { ...udp, routable: [{ address: lab.host(`pod${n}`).address(), port: 8053, local: true }] });
    await rules.apply(plan(to(1)));
    const sender = `const socket = require('node:dgram').createSocket('udp4');
      socket.on('message', (text) => console.log(String(text)));
      socket.bind(40000, () => setInterval(() => socket.send('x', 53, '${VIP}', () => {}), 50));`;
    const client = node.spawn(process.execPath, ['-e', sender]);
    await client.waitForLine('pod1');
    await rules.apply(plan(to(2)));
    await client.waitForLine('pod2');
    const answered = client.lines.length;
    await rules.apply(plan());
    await rules.apply(plan(to(1)));
    await client.waitFor((lines) => lines.slice(answered).some((line) => line.startsWith('pod1')));
    await client.kill();
  });

  it('leaves local endpoints served when the agent is killed, and a successor takes over', async () => {
    const script = `
      import { createKernelRules } from '@edgemesh/linux';
      const rules = createKernelRules({ agentTimeoutSeconds: 1, heartbeatIntervalMs: 200, link: ${JSON.stringify(LINK)} });
      await rules.apply(${JSON.stringify(plan(rule([1, 2], { tunnelled: 2000 })))});
      console.log('applied');`;
    const agent = node.spawn(
      process.execPath,
      ['--conditions=@edgemesh/source', '--input-type=module', '-e', `${script}setInterval(() => {}, 1000);`],
      {
        cwd: new URL('../../../apps/agent', import.meta.url).pathname,
      },
    );
    await agent.waitForLine('applied');
    // Nobody listens on the agent's port in this test: what is redirected is refused.
    expect(await tally(node, { address: VIP, port: 80, count: 5 })).toHaveProperty('ECONNREFUSED');
    await agent.kill('SIGKILL');
    await pollUntil(async () => !(await tally(node, { address: VIP, port: 80, count: 5 })).ECONNREFUSED, {
      what: 'the watchdog',
    });
    expect(Object.keys(await tally(node, { address: VIP, port: 80, count: 30 })).sort()).toEqual(['pod1', 'pod2']);
    await using rules = create();
    await rules.apply(plan(rule([2])));
    expect(await tally(node, { address: VIP, port: 80, count: 5 })).toEqual({ pod2: 5 });
  });

  it('cleans up after agents of any version, as often as asked', async () => {
    const before = await everything();
    await ensureLink(runner(), LINK);
    await node.must('nft', ['-f', '-'], {
      input: 'add table inet edgemesh\nadd table inet edgemesh-old\nadd table inet edgemeshless\n',
    });
    const steps = await cleanupAll(runner());
    expect(steps.map((step) => step.result)).toEqual(['found edgemesh, edgemesh-old', 'removed', 'removed', 'removed']);
    expect((await cleanupAll(runner())).map((step) => step.result)).toEqual(['absent', 'absent']);
    await node.must('nft', ['delete', 'table', 'inet', 'edgemeshless']);
    expect(await everything()).toBe(before);
  });

  it('refuses to take over a link that is not ours', async () => {
    await node.must('ip', ['link', 'add', 'edgemesh0', 'type', 'bridge']);
    await expect(ensureLink(runner(), LINK)).rejects.toMatchObject({ code: 'plan' });
    await cleanupAll(runner());
    expect(await node.must('ip', ['link', 'show', 'edgemesh0'])).toContain('edgemesh0');
    await node.must('ip', ['link', 'del', 'edgemesh0']);
  });

  it('works without conntrack and says what that costs', async () => {
    const real = runner();
    const log = createRecordingLogger();
    const crippled = {
      run: (command: string, args: readonly string[], options = {}) =>
        real.run(command === 'conntrack' ? 'conntrack-is-not-installed' : command, args, options),
    };
    await using rules = create({ runner: crippled, log });
    await rules.apply(plan(rule([1])));
    await rules.apply(plan(rule([1], { protocol: 'UDP' })));
    await rules.apply(plan());
    expect(rules.status.state).toBe('active');
    expect(rules.status.degraded.join()).toContain('UDP clients may stick');
  });
});
