import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createMesh, type Mesh } from '../harness/mesh.ts';
import { ECHO, labServices } from '../harness/services.ts';
import { startSteady } from '../harness/steady.ts';

/** How long the accidents go on; ten minutes for a release: EDGEMESH_CHAOS_SECONDS=600. */
const SECONDS = Number(process.env.EDGEMESH_CHAOS_SECONDS ?? 40);
const SEED = Number(process.env.EDGEMESH_CHAOS_SEED ?? Date.now() % 1_000_000);
/** After an accident short connections may fail for this long, in milliseconds: the session looks for another path. */
const WINDOW_MS = 8_000;
const SERVERS = ['server-0', 'server-1'] as const;

/** A small linear congruential generator: a run can be repeated by its seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function createPlayground() {
  const mesh = await createMesh({
    hosts: {
      a: { lan: 'home' },
      b: { lan: 'office' },
      c: { lan: 'home' },
      ...Object.fromEntries(SERVERS.map((name) => [name, { lan: 'internet' }])),
    },
    routers: { 'nat-a': { lan: 'home' }, 'nat-b': { lan: 'office' } },
  });
  const servers = new Map<string, Awaited<ReturnType<Mesh['server']>>>();
  for (const name of SERVERS) servers.set(name, await mesh.server(name));
  await mesh.backend('b');
  const options = { services: labServices(['b']), relays: SERVERS.map((name) => mesh.host(name).address()) };
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => mesh.agent(name, options)));
  return { mesh, servers, a, b, c };
}
type Playground = Awaited<ReturnType<typeof createPlayground>>;

/** What can happen. None of it ends the agents a and b, so the connections between them must survive. */
function accidents({ mesh, servers, c }: Playground, random: (below: number) => number) {
  const oneOf = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  return {
    async 'relay killed'() {
      const name = oneOf(SERVERS);
      await servers.get(name)?.kill('SIGKILL');
      await delay(500 + random(2_000));
      servers.set(name, await mesh.server(name));
    },
    async 'NAT flushed'() {
      await mesh.lab.router(oneOf(['nat-a', 'nat-b'])).flushConntrack();
    },
    async 'link down'() {
      const host = mesh.host(oneOf(['a', 'b']));
      await host.unplug();
      await delay(500 + random(2_500));
      await host.plug();
    },
    async 'relay silent'() {
      const host = mesh.host(oneOf(SERVERS));
      await host.unplug();
      await delay(1_000 + random(2_000));
      await host.plug();
    },
    async 'another agent restarted'() {
      await c?.process.kill(oneOf(['SIGKILL', 'SIGTERM']));
      await c?.restart();
    },
  };
}

describe('chaos', () => {
  it(
    `loses no byte of 50 connections in ${SECONDS} s of accidents (seed ${SEED})`,
    async () => {
      const playground = await createPlayground();
      await using _mesh = playground.mesh;
      const random = randomOf(SEED);
      const happenings = Object.entries(accidents(playground, random));
      const { a, c } = playground;
      const traffic = await startSteady(a?.machine as never, {
        ...{ host: ECHO, port: 7, connections: 50, bytesPerSecond: 20_000 },
        ...{ shortPerSecond: SECONDS > 100 ? 500 : 100, shortTimeoutMs: 10_000 },
      });
      const others = await startSteady(c?.machine as never, {
        ...{ host: ECHO, port: 7, connections: 0, bytesPerSecond: 0, shortPerSecond: 10 },
      });
      const windows: { readonly what: string; readonly from: number; to: number }[] = [];
      const end = Date.now() + SECONDS * 1_000;
      for (let turn = random(happenings.length); Date.now() < end; turn++) {
        const [what, happen] = happenings[turn % happenings.length] as (typeof happenings)[number];
        const window = { what, from: traffic.last().at, to: 0 };
        windows.push(window);
        await happen();
        window.to = traffic.last().at + WINDOW_MS;
        await delay(1_500 + random(2_000));
      }
      await traffic.flows(20_000);
      const report = await traffic.finish();
      await others.finish();
      const errors = traffic.reports.flatMap((one) => one.errors);
      const outside = errors.filter(({ at }) => !windows.some(({ from, to }) => at >= from && at <= to));
      const stalls = Math.max(...traffic.reports.map((one) => one.maxStallMs));
      console.log(
        `chaos: ${windows.length} accidents, ${report.back} bytes back, ${report.shortDone} short connections, ` +
          `${errors.length} of them failed, longest stall ${stalls} ms`,
      );
      expect(report).toMatchObject({ open: 0, done: 50, corrupted: 0 });
      expect(report.back).toBe(report.sent);
      expect(outside).toEqual([]);
    },
    (SECONDS + 90) * 1_000,
  );
});
