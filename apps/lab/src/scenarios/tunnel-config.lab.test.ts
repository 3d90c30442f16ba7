import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { createMesh, type Mesh, type MeshAgent, TWO_NATS_TWO_SERVERS } from '../harness/mesh.ts';
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
    mesh = await createMesh(TWO_NATS_TWO_SERVERS);
    first = await mesh.server('server-0', { secret: OLD });
    await mesh.server('server-1', { secret: `${OLD}\n${NEW}` });
    await mesh.backend('b');
    const options = {
      services: labServices(['b']),
      relays: [address('server-0')],
      secret: OLD,
      tunnel: { holePunch: 'off' },
    };
    const watched = {
      ...options,
      tunnel: { ...options.tunnel, metricConfig: { enable: true } },
      config: { commonConfig: { pprofConfig: { enableProfiling: true, profilingPort: 10_551 } } },
    };
    [a, b] = await Promise.all([mesh.agent('a', options), mesh.agent('b', watched)]);
    await a.until('the relay', (s) => s.relays.every((relay) => relay.state === 'connected'));
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('serves metrics to the network and profiles to the node, where it is told to', async () => {
    const get = async ({ machine }: MeshAgent, url: string) =>
      (await machine.exec('curl', ['-sS', '--max-time', '10', url])).stdout;
    expect(await get(b, `http://${address('b')}:9999/metrics`)).toContain('edgemesh_');
    expect(await get(b, 'http://127.0.0.1:10551/debug/cpu?seconds=0.1')).toContain('"nodes"');
    expect(await get(a, `http://${address('a')}:9999/metrics`)).toBe('');
    expect(await get(a, 'http://127.0.0.1:10551/debug/cpu?seconds=0.1')).toContain('not found');
  });

  it('takes another log level over without starting anything anew', async () => {
    const since = async () => (await a.status()).modules;
    const before = await since();
    const config = JSON.parse(await a.configWith({}));
    await a.swapConfig(JSON.stringify({ ...config, commonConfig: { ...config.commonConfig, logLevel: 'info' } }));
    await a.process.waitForLine(/configuration changed.*logLevel.*needsRestartOfAgent=\[\]/);
    expect(await since()).toEqual(before);
    await a.swapConfig(JSON.stringify(config));
  });

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
