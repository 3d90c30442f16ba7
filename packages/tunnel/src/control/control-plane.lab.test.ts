import { createLab, type Lab, type LabProcess, labMissing } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const missing = await labMissing({ ci: process.env.CI !== undefined });
const program = new URL('../../lab/control-node.ts', import.meta.url).pathname;
const lastNumber = (line: string) => Number(line.split(' ').at(-1));

describe.skipIf(missing)('the control plane in a network', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await createLab({
      hosts: {
        one: { lan: 'home' },
        two: { lan: 'home' },
        far: { lan: 'office' },
        relay: { lan: 'internet' },
      },
      routers: { homeNat: { lan: 'home' }, officeNat: { lan: 'office' } },
    });
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
  });

  const start = (host: string, ...args: string[]): LabProcess => lab.host(host).node(program, [host, ...args]);

  it('finds a neighbour by mDNS within two seconds, without relay and without default route', async () => {
    for (const host of ['one', 'two']) await lab.host(host).must('ip', ['route', 'del', 'default']);
    await using one = start('one', 'agent', 'mdns');
    await one.waitForLine(/^listening/);
    await using two = start('two', 'agent', 'mdns');
    const listening = lastNumber(await two.waitForLine(/^listening/));
    const found = lastNumber(await two.waitForLine(`record one ${lab.host('one').address()}`));
    expect(found - listening).toBeLessThan(2_000);
    await one.waitForLine(`record two ${lab.host('two').address()}`);
    one.write('two\n');
    expect(await one.waitForLine(/^resolved two/)).toMatch(/^resolved two lan/);
  });

  it('finds a neighbour that joins after its cable was out', async () => {
    await lab.host('two').unplug();
    await using one = start('one', 'agent', 'mdns');
    await using two = start('two', 'agent', 'mdns');
    await Promise.all([one.waitForLine(/^listening/), two.waitForLine(/^listening/)]);
    one.write('two\n');
    expect(await one.waitForLine(/^resolved two/)).toMatch(/unknown/);
    await lab.host('two').plug();
    const isFound = () => one.lines.some((line) => line.startsWith('resolved two lan'));
    await one.waitFor(() => {
      if (!isFound()) one.write('two\n');
      return isFound();
    });
  });

  it('reaches a relay from behind two NATs, learns its mapping there, and looks up a node of another site', async () => {
    await using relay = start('relay', 'relay', 'quiet');
    await relay.waitForLine(/^listening/);
    const address = lab.host('relay').address();
    await lab.host('one').must('ip', ['route', 'add', 'default', 'via', lab.router('homeNat').address('home')]);
    await using far = start('far', 'agent', 'quiet', address);
    await using one = start('one', 'agent', 'quiet', address);
    await Promise.all([far.waitForLine(/relay connected/), one.waitForLine(/relay connected/)]);
    const [, observed, ownPort] = (await one.waitForLine(/^observed/)).split(' ');
    expect(observed).toBe(`${lab.router('homeNat').address('internet')}:${ownPort}`);
    one.write('far\n');
    expect(await one.waitForLine(/^resolved far/)).toMatch(/resolved far remote/);
  });

  it('notices within ten seconds that a relay has vanished without a word, and is back soon after it returns', async () => {
    await using relay = start('relay', 'relay', 'quiet');
    await relay.waitForLine(/^listening/);
    await using far = start('far', 'agent', 'quiet', lab.host('relay').address());
    await far.waitForLine(/relay connected/);
    await lab.host('relay').unplug();
    const unplugged = performance.now();
    await far.waitForLine(/relay connecting|relay failed/, { timeoutMs: 15_000 });
    expect(performance.now() - unplugged).toBeLessThan(10_000);
    await lab.host('relay').plug();
    const connections = () => far.lines.filter((line) => line.startsWith('relay connected')).length;
    const before = connections();
    await far.waitFor(() => connections() > before, { timeoutMs: 15_000 });
  });
});
