import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { delayPackets } from '../harness/delay.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { HELLO, labServices } from '../harness/services.ts';

const MBIT_PER_SECOND = 100;

describe('a path of 50 ms and 100 Mbit/s', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  /** Mbit/s of each of so many downloads at once. */
  const download = async (connections: number, warmUpSeconds: number, seconds: number) => {
    const file = fileURLToPath(new URL('../harness/downloads-main.ts', import.meta.url));
    const run = a.machine.node(file, [HELLO, connections, warmUpSeconds, seconds].map(String));
    const line = await run.waitForLine(/^\[/, { timeoutMs: (warmUpSeconds + seconds + 10) * 1_000 });
    return JSON.parse(line) as number[];
  };
  const sum = (rates: readonly number[]) => rates.reduce((total, rate) => total + rate, 0);

  beforeAll(async () => {
    mesh = await createMesh({
      hosts: { a: { lan: 'far' }, b: { lan: 'internet' } },
      routers: { wire: { lan: 'far', nat: 'routed' } },
    });
    await delayPackets(mesh.lab.router('wire'), 25);
    await mesh.host('a').limit({ mbitPerSecond: MBIT_PER_SECOND });
    await mesh.backend('b');
    const b = mesh.host('b').address();
    const options = { services: labServices(['b']), tunnel: { staticPeers: [`${b}:20006`] } };
    await mesh.agent('b', { services: labServices(['b']) });
    a = await mesh.agent('a', options);
    await a.until('a first answer', async () => (await curl(a.machine, `http://${HELLO}/`)).status === 200, 20_000);
    await a.until('direct', (s) => s.peers.some((peer) => peer.node === 'b' && peer.path === 'direct'));
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('is filled to 90 % by one stream, down and up', async () => {
    const down = sum(await download(1, 2, 6));
    const { stdout } = await a.machine.exec(
      'sh',
      ['-c', `head -c 60000000 /dev/zero | curl -sS -T - -o /dev/null -w '%{speed_upload}' http://${HELLO}/sha256`],
      { timeoutMs: 60_000 },
    );
    const up = (Number(stdout) * 8) / 1e6;
    console.log(`one stream: ${down.toFixed(1)} Mbit/s down, ${up.toFixed(1)} Mbit/s up`);
    expect(down).toBeGreaterThan(0.9 * MBIT_PER_SECOND);
    expect(up).toBeGreaterThan(0.85 * MBIT_PER_SECOND); // its slow start is part of the measurement
  });

  it('is shared by 200 streams within 20 %, and stays quick for others', async () => {
    const running = download(200, 5, 12);
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    const pings: number[] = [];
    for (let i = 0; i < 20; i++) pings.push((await curl(a.machine, `http://${HELLO}/`)).seconds * 1_000);
    const rates = await running;
    const mean = sum(rates) / rates.length;
    const spread = Math.max(...rates.map((rate) => Math.abs(rate - mean) / mean));
    pings.sort((x, y) => x - y);
    console.log(
      `200 streams: ${sum(rates).toFixed(1)} Mbit/s, at most ${(spread * 100).toFixed(1)} % from the mean; ` +
        `a request beside them takes ${pings[10]?.toFixed(0)} ms (max ${pings.at(-1)?.toFixed(0)})`,
    );
    expect(sum(rates)).toBeGreaterThan(0.85 * MBIT_PER_SECOND);
    expect(spread).toBeLessThan(0.2);
  });
});
