import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMesh, type Mesh, type MeshAgent, TWO_NATS_TWO_SERVERS } from '../harness/mesh.ts';
import { ECHO, labServices } from '../harness/services.ts';
import { startSteady } from '../harness/steady.ts';

const PLAN = { host: ECHO, port: 7, connections: 8, bytesPerSecond: 200_000 };
const WHOLE = { open: 0, done: 8, corrupted: 0 };
const pathToB = async (agent: MeshAgent) => (await agent.status()).peers.find((peer) => peer.node === 'b');

describe('connections through a tunnel', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  const servers = new Map<string, Awaited<ReturnType<Mesh['server']>>>();
  const start = async (holePunch: 'auto' | 'off') => {
    mesh = await createMesh(TWO_NATS_TWO_SERVERS);
    for (const name of ['server-0', 'server-1']) servers.set(name, await mesh.server(name));
    await mesh.backend('b');
    const relays = ['server-0', 'server-1'].map((name) => mesh.host(name).address());
    const options = { services: labServices(['b']), relays, tunnel: { holePunch } };
    [a] = await Promise.all([mesh.agent('a', options), mesh.agent('b', options)]);
    await a.until('both relays', (s) => s.relays.every((relay) => relay.state === 'connected'));
  };
  /** The server that splices for the session between a and b. */
  const relayInUse = async () => {
    const address = (await pathToB(a))?.address ?? '';
    return ['server-0', 'server-1'].find((name) => address.startsWith(`${mesh.host(name).address()}:`)) as string;
  };

  describe('that is relayed', () => {
    beforeAll(() => start('off'), 60_000);
    afterAll(() => mesh?.[Symbol.asyncDispose]());

    it('survive the death of their relay; new ones find another within 3 s', async () => {
      const traffic = await startSteady(a.machine, { ...PLAN, shortPerSecond: 10, shortTimeoutMs: 3_000 });
      const first = await relayInUse();
      const killedAt = traffic.last().at;
      await servers.get(first)?.kill('SIGKILL');
      await traffic.flows(10_000);
      expect(await relayInUse()).not.toBe(first);
      await delay(1_000); // what failed would have said so by now
      const after = traffic.reports.filter((report) => report.at >= killedAt);
      const stallMs = Math.max(...after.map((report) => report.maxStallMs));
      console.log(`relay killed: longest stall ${stallMs} ms`);
      expect(stallMs).toBeLessThan(3_000);
      expect(await traffic.finish()).toMatchObject(WHOLE);
      expect(traffic.reports.flatMap((report) => report.errors)).toEqual([]);
      servers.set(first, await mesh.server(first));
      await a.until('both relays', (s) => s.relays.every((relay) => relay.state === 'connected'), 20_000);
    });

    it('survive a relay that falls silent; new ones wait less than 3 s', async () => {
      const traffic = await startSteady(a.machine, { ...PLAN, shortPerSecond: 10, shortTimeoutMs: 3_000 });
      const first = await relayInUse();
      const silentAt = traffic.last().at;
      await mesh.host(first).unplug();
      await traffic.flows(10_000);
      expect(await relayInUse()).not.toBe(first);
      await delay(1_000);
      const after = traffic.reports.filter((report) => report.at >= silentAt);
      const stallMs = Math.max(...after.map((report) => report.maxStallMs));
      console.log(`relay silent: longest stall ${stallMs} ms`);
      expect(stallMs).toBeLessThan(3_000);
      expect(await traffic.finish()).toMatchObject(WHOLE);
      expect(traffic.reports.flatMap((report) => report.errors)).toEqual([]);
      await mesh.host(first).plug();
      await a.until('both relays', (s) => s.relays.every((relay) => relay.state === 'connected'), 20_000);
    });

    it('survive that the NAT forgets its connections, and that it gets another address', async () => {
      const traffic = await startSteady(a.machine, PLAN);
      await mesh.lab.router('nat-a').flushConntrack();
      await traffic.flows();
      await mesh.lab.router('nat-a').renumber('5.1.3.3');
      await mesh.lab.router('nat-a').flushConntrack();
      const at = traffic.last().at;
      await traffic.flows(20_000);
      console.log(`NAT renumbered: flows again after ${traffic.last().at - at} ms`);
      expect(await traffic.finish()).toMatchObject(WHOLE);
      await a.until('both relays', (s) => s.relays.every((relay) => relay.state === 'connected'), 30_000);
    });

    it('survive that the link is down for 10 s', async () => {
      const traffic = await startSteady(a.machine, PLAN);
      await a.machine.unplug();
      await delay(10_000);
      await a.machine.plug();
      const at = traffic.last().at;
      await traffic.flows(15_000);
      console.log(`link up: flows again after ${traffic.last().at - at} ms`);
      expect(await traffic.finish()).toMatchObject(WHOLE);
    });

    it('survive that the node gets another address', async () => {
      // From the bridge's address, as pods have addresses of their own: the node's is about to go.
      const traffic = await startSteady(a.machine, { ...PLAN, localAddress: '169.254.96.16' });
      const [link] = a.machine.interfaces;
      const renewed = link?.ipv4.replace(/\d+$/, '77');
      const gateway = link?.ipv4.replace(/\d+$/, '1');
      const commands = [
        `addr del ${link?.ipv4}/${link?.prefix4} dev ${link?.name}`,
        `addr add ${renewed}/${link?.prefix4} dev ${link?.name}`,
        `route replace default via ${gateway}`,
      ];
      await a.machine.must('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n` });
      const at = traffic.last().at;
      await traffic.flows(15_000);
      console.log(`renumbered: flows again after ${traffic.last().at - at} ms`);
      expect(await traffic.finish()).toMatchObject(WHOLE);
    });

    it('are reset when there is no path for longer than the grace period', async () => {
      const traffic = await startSteady(a.machine, PLAN);
      await a.machine.unplug();
      const lost = await traffic.untilLost(60_000);
      expect(lost).toHaveLength(PLAN.connections);
      expect(lost.every(({ error }) => /ECONNRESET/.test(error))).toBe(true);
      await a.machine.plug();
      const log = a.process.lines.filter((line) => /session-lost/.test(line));
      expect(log.length).toBeGreaterThan(0);
    });
  });

  describe('that finds a better path', () => {
    beforeAll(() => start('auto'), 60_000);
    afterAll(() => mesh?.[Symbol.asyncDispose]());

    it('move to the punched path under traffic, and stay when every relay is gone', async () => {
      const traffic = await startSteady(a.machine, PLAN);
      await a.until('punched', async () => (await pathToB(a))?.path === 'punched');
      for (const server of servers.values()) await server.kill('SIGKILL');
      await traffic.flows();
      await delay(2_000);
      await traffic.flows();
      // New streams too.
      expect((await startSteady(a.machine, { ...PLAN, connections: 1 })).last().corrupted).toBe(0);
      expect(await traffic.finish()).toMatchObject(WHOLE);
    });

    it('survive that both NATs forget the punched connection', async () => {
      for (const name of servers.keys()) servers.set(name, await mesh.server(name));
      await a.until('both relays', (s) => s.relays.every((relay) => relay.state === 'connected'), 30_000);
      const traffic = await startSteady(a.machine, PLAN);
      for (const name of ['nat-a', 'nat-b']) await mesh.lab.router(name).flushConntrack();
      const at = traffic.last().at;
      await traffic.flows(20_000);
      console.log(`NATs flushed: flows again after ${traffic.last().at - at} ms`);
      expect(await traffic.finish()).toMatchObject(WHOLE);
    });
  });
});
