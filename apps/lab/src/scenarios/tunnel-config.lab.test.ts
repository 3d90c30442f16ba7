import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { ECHO, HELLO, labServices } from '../harness/services.ts';
import { startSteady } from '../harness/steady.ts';

const OLD = 'the-old-secret';
const NEW = 'the-new-secret';

describe('a mesh whose configuration changes while it works', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;
  let first: Awaited<ReturnType<Mesh['server']>>;
  const address = (name: string) => mesh.host(name).address();
  const hello = async () => (await curl(a.machine, `http://${HELLO}/`)).body;

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: {
        a: { lan: 'home' },
        b: { lan: 'office' },
        'server-0': { lan: 'internet' },
        'server-1': { lan: 'internet' },
      },
      routers: { 'nat-a': { lan: 'home' }, 'nat-b': { lan: 'office' } },
    });
    first = await mesh.server('server-0', { secret: OLD });
    await mesh.server('server-1', { secret: `${OLD}\n${NEW}` });
    await mesh.backend('b');
    const options = {
      services: labServices(['b']),
      relays: [address('server-0')],
      secret: OLD,
      tunnel: { holePunch: 'off' },
    };
    [a, b] = await Promise.all([mesh.agent('a', options), mesh.agent('b', options)]);
    await a.until('the relay', (s) => s.relays.every((relay) => relay.state === 'connected'));
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('keeps the old one when the new file is bad, and says why', async () => {
    await a.swapConfig('modules: { edgeTunnel: { listenPort: tomorrow');
    await a.process.waitForLine(/config.*(bad|invalid|syntax|keeps|kept|not valid|cannot)/i);
    expect(await hello()).toContain('hello from b');
  });

  it('moves to other relays by a ConfigMap swap, with its connections', async () => {
    const traffic = await startSteady(a.machine, { host: ECHO, port: 7, connections: 4, bytesPerSecond: 100_000 });
    for (const agent of [a, b]) await agent.swapConfig(await agent.configWith({ relays: [address('server-1')] }));
    for (const agent of [a, b]) {
      await agent.until(
        'the other relay',
        (s) => s.relays.length === 1 && s.relays.every((relay) => relay.state === 'connected'),
      );
    }
    await first.kill('SIGKILL');
    await traffic.flows();
    expect(await hello()).toContain('hello from b');
    expect(await traffic.finish()).toMatchObject({ open: 0, done: 4, corrupted: 0 });
  });

  it('talks at each step of a change of the secret', async () => {
    const relays = [address('server-1')];
    // The server accepts both. First all learn the new one, then it comes first, then the old one goes.
    const steps = [
      [a, `${OLD}\n${NEW}`],
      [b, `${NEW}\n${OLD}`],
      [a, NEW],
      [b, NEW],
    ] as const;
    const starts = (lines: readonly string[]) => lines.filter((line) => /tunnel +module started/.test(line)).length;
    for (const [agent, secret] of steps) {
      const before = starts(agent.process.lines);
      await agent.swapConfig(await agent.configWith({ relays, secret }));
      await agent.process.waitFor((lines) => starts(lines) > before, { what: 'the tunnel to start anew' });
      await expect.poll(hello, { timeout: 15_000, message: `with ${secret}` }).toContain('hello from b');
    }
  });
});
