import { createFakeClock } from '@edgemesh/testkit';
import packet from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { fakeView, service } from '../test/catalog.ts';
import { ask, encodeQuestion, portOf, readReply, tcpExchange, udpExchange } from '../test/client.ts';
import { a, createFakeUpstream, type FakeUpstream, nodata, soa } from '../test/fake-upstream.ts';
import { createDnsServer, type DnsServer, type DnsServerDeps, type DnsServerOptions } from './index.ts';

const LISTEN = [{ address: '127.0.0.1', port: 0 }];

function start(
  upstreams: readonly FakeUpstream[],
  options: Partial<DnsServerOptions> = {},
  deps: Partial<DnsServerDeps> = {},
): Promise<DnsServer> {
  const targets = upstreams.map(({ port }) => `127.0.0.1:${port}`);
  return createDnsServer(
    { listen: LISTEN, upstreams: targets, ...options },
    { view: fakeView({ services: [] }), ...deps },
  );
}

/** Waits for a condition that events of sockets bring about. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A UDP port where nobody listens. */
async function closedPort(): Promise<number> {
  const gone = await createFakeUpstream();
  await gone[Symbol.asyncDispose]();
  return gone.port;
}

describe('forwarding', () => {
  it('asks by UDP with random ports and ids, and gives the upstream’s answer', async () => {
    await using upstream = await createFakeUpstream();
    await using server = await start([upstream]);
    const reply = await ask(server, 'www.example.test', 'A');
    expect(reply.answers).toEqual(['www.example.test 60 A 192.0.2.1']);
    expect(reply).toMatchObject({ rcode: 'NOERROR', aa: false });
    for (let i = 0; i < 20; i++) await ask(server, `n${i}.test`, 'A');
    expect(upstream.asked.every(({ transport }) => transport === 'udp')).toBe(true);
    expect(new Set(upstream.asked.map(({ query }) => query.id)).size).toBeGreaterThan(15);
  });

  it('sends upstreams our own EDNS, passes DO and other options on, and keeps hop-by-hop ones', async () => {
    await using upstream = await createFakeUpstream();
    await using server = await start([upstream]);
    const opt = (code: number, data: Buffer) => ({ code, data }) as never;
    const query = packet.encode({
      type: 'query',
      id: 7,
      flags: packet.RECURSION_DESIRED,
      questions: [{ type: 'A', name: 'opt.test' }],
      additionals: [
        {
          type: 'OPT',
          name: '.',
          udpPayloadSize: 4096,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: packet.DNSSEC_OK,
          flag_do: true,
          options: [opt(10, Buffer.alloc(8, 1)), opt(65_001, Buffer.from('travels'))],
        },
      ],
    });
    await udpExchange(portOf(server), query);
    const sent = readReply(upstream.asked[0]?.raw as Buffer).opt;
    expect(sent).toMatchObject({ udpPayloadSize: 1232, flag_do: true });
    expect(sent?.options.map(({ code }) => Number(code))).toEqual([65_001]);
    // An answer to options is for that client alone.
    await udpExchange(portOf(server), query);
    expect(upstream.asked).toHaveLength(2);
  });

  it('asks upstreams by IPv6 as well, over both transports', async () => {
    await using upstream = await createFakeUpstream(0, '::1');
    upstream.answer = ({ name }) => ({ ...a(name, 60, '192.0.2.1'), truncated: name.startsWith('big') });
    await using server = await start([], { upstreams: [`[::1]:${upstream.port}`] });
    expect((await ask(server, 'six.test', 'A')).answers).toHaveLength(1);
    expect((await ask(server, 'big.test', 'A')).answers).toHaveLength(1);
    expect(server.status().upstreams).toMatchObject([{ address: '::1', port: upstream.port, state: 'up' }]);
  });

  it('goes on by TCP only when the answer is truncated, and pipelines there', async () => {
    await using upstream = await createFakeUpstream();
    const addresses = Array.from({ length: 60 }, (_, i) => `192.0.2.${i}`);
    upstream.answer = ({ name }) => ({ ...a(name, 60, ...addresses), truncated: true });
    await using server = await start([upstream]);
    const names = ['one.test', 'two.test', 'three.test'];
    const replies = await Promise.all(names.map((name) => ask(server, name, 'A', { tcp: true })));
    for (const reply of replies) expect(reply.answers).toHaveLength(60);
    expect(upstream.asked.map(({ transport }) => transport).sort()).toEqual(['tcp', 'tcp', 'tcp', 'udp', 'udp', 'udp']);
    const small = await ask(server, 'one.test', 'A');
    expect(small).toMatchObject({ tc: true });
    expect(small.raw.length).toBeLessThanOrEqual(512);
  });

  it('fails over at once from a closed port and within a second from a silent upstream', async () => {
    await using silent = await createFakeUpstream();
    silent.answer = () => undefined;
    await using good = await createFakeUpstream();
    await using server = await start([], {
      upstreams: [`127.0.0.1:${await closedPort()}`, `127.0.0.1:${silent.port}`, `127.0.0.1:${good.port}`],
    });
    const started = performance.now();
    expect((await ask(server, 'a.test', 'A')).rcode).toBe('NOERROR');
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  it('marks a dead upstream down, leaves it out, and takes it back when it answers', async () => {
    const dead = await closedPort();
    await using good = await createFakeUpstream();
    await using server = await start([], {
      upstreams: [`127.0.0.1:${dead}`, `127.0.0.1:${good.port}`],
      limits: { probeMinMs: 20, probeMaxMs: 40 },
    });
    const state = () => server.status().upstreams.map((upstream) => upstream.state);
    await until(() => state()[0] === 'down');
    expect(state()).toEqual(['down', 'up']);
    expect(server.status().upstreams[0]?.lastFailure).toBe('refused');
    await using _revived = await createFakeUpstream(dead);
    await until(() => state()[0] === 'up');
  });

  it('asks the next upstream when one answers SERVFAIL or REFUSED, and gives SERVFAIL when all do', async () => {
    await using bad = await createFakeUpstream();
    await using good = await createFakeUpstream();
    bad.answer = ({ name }) => ({ rcode: name.startsWith('r') ? 5 : 2 });
    await using server = await start([bad, good]);
    expect((await ask(server, 's.test', 'A')).answers).toHaveLength(1);
    expect((await ask(server, 'r.test', 'A')).answers).toHaveLength(1);
    await using lonely = await start([bad]);
    expect((await ask(lonely, 's.test', 'A')).rcode).toBe('SERVFAIL');
  });

  it.each([
    ['another question', (raw: Buffer) => Buffer.concat([raw.subarray(0, 13), Buffer.from('z'), raw.subarray(14)])],
    ['a query instead of an answer', (raw: Buffer) => Buffer.from(raw)],
    ['garbage', () => Buffer.alloc(40, 0xff)],
    ['counts that lie', (raw: Buffer) => Buffer.concat([raw.subarray(0, 6), Buffer.from([0, 9]), raw.subarray(8)])],
  ])('ignores %s and waits for the real answer', async (_what, forge) => {
    await using upstream = await createFakeUpstream();
    let first = true;
    upstream.answer = ({ name, raw }) => {
      if (!first) return a(name, 60, '192.0.2.1');
      first = false;
      const answer = forge(raw);
      if (_what !== 'a query instead of an answer') answer[2] = 0x81;
      return { raw: answer };
    };
    await using server = await start([upstream]);
    expect((await ask(server, 'real.test', 'A')).answers).toEqual(['real.test 60 A 192.0.2.1']);
  });

  it('asks without EDNS who can not bear it', async () => {
    await using upstream = await createFakeUpstream();
    upstream.answer = ({ name, query }) => (query.additionals?.length ? { rcode: 1 } : a(name, 60, '192.0.2.1'));
    await using server = await start([upstream]);
    expect((await ask(server, 'old.test', 'A')).answers).toHaveLength(1);
    await ask(server, 'old2.test', 'A');
    expect(upstream.asked).toHaveLength(3);
  });

  it('sends names of a stub domain to its own upstreams, the longest match first', async () => {
    await using main = await createFakeUpstream();
    await using corp = await createFakeUpstream();
    await using lab = await createFakeUpstream();
    await using server = await start([main], {
      stubDomains: { 'corp.test': [`127.0.0.1:${corp.port}`], 'lab.corp.test.': [`127.0.0.1:${lab.port}`] },
    });
    for (const name of ['x.test', 'x.CORP.test', 'corp.test', 'x.lab.corp.test', 'xcorp.test'])
      await ask(server, name, 'A');
    expect(main.asked.map(({ name }) => name)).toEqual(['x.test', 'xcorp.test']);
    expect(corp.asked.map(({ name }) => name)).toEqual(['x.CORP.test', 'corp.test']);
    expect(lab.asked.map(({ name }) => name)).toEqual(['x.lab.corp.test']);
    expect(server.status().upstreams.map(({ port, domains }) => [port, domains])).toEqual(
      expect.arrayContaining([
        [main.port, ['.']],
        [corp.port, ['corp.test.']],
      ]),
    );
  });

  it('asks once for what many ask at the same time', async () => {
    await using upstream = await createFakeUpstream();
    const gate = Promise.withResolvers<void>();
    upstream.answer = async ({ name }) => {
      await gate.promise;
      return a(name, 60, '192.0.2.1');
    };
    await using server = await start([upstream], { limits: { hedgeMinMs: 4_000, hedgeMaxMs: 8_000 } });
    const queries = Array.from({ length: 50 }, (_, i) => encodeQuestion(i % 2 ? 'Same.test' : 'same.TEST', 'A'));
    const replies = tcpExchange(portOf(server), queries);
    await until(() => upstream.asked.length > 0);
    gate.resolve();
    expect(await replies).toHaveLength(50);
    expect(upstream.asked).toHaveLength(1);
  });

  it('refuses what is too much with SERVFAIL and a reason', async () => {
    await using upstream = await createFakeUpstream();
    upstream.answer = () => undefined;
    await using server = await start([upstream], {
      limits: { maxInflightUpstream: 1, exchangeTimeoutMs: 150 },
    });
    const waits = ask(server, 'first.test', 'A', { edns: 1232 });
    await until(() => upstream.asked.length > 0);
    const reply = await ask(server, 'second.test', 'A', { edns: 1232 });
    expect(reply.rcode).toBe('SERVFAIL');
    expect(reply.raw.includes('too many queries')).toBe(true);
    const first = await waits;
    expect(first.rcode).toBe('SERVFAIL');
    expect(first.raw.includes('no upstream resolver answered')).toBe(true);
  });

  it('answers the alias of an ExternalName even when nobody knows its end', async () => {
    const external = service('d', 'ext', { type: 'ExternalName', externalName: 'gone.test' });
    await using server = await start(
      [],
      { upstreams: [`127.0.0.1:${await closedPort()}`] },
      { view: fakeView({ services: [external] }) },
    );
    const reply = await ask(server, 'ext.d.svc.cluster.local', 'A');
    expect(reply.rcode).toBe('NOERROR');
    expect(reply.answers).toEqual(['ext.d.svc.cluster.local 5 CNAME gone.test']);
  });

  it('lets a Service that takes an address override what upstreams said of its reverse name', async () => {
    await using upstream = await createFakeUpstream();
    const view = fakeView({ services: [] });
    await using server = await start([upstream], {}, { view });
    const name = '7.0.3.10.in-addr.arpa';
    await ask(server, name, 'PTR');
    await ask(server, name, 'PTR');
    expect(upstream.asked).toHaveLength(1);
    view.publish({ services: [service('d', 'web', { clusterIPs: ['10.3.0.7'] })] });
    expect((await ask(server, name, 'PTR')).answers).toEqual([`${name} 5 PTR web.d.svc.cluster.local`]);
  });

  it('gives the truncated answer when TCP to the upstream fails', async () => {
    await using upstream = await createFakeUpstream();
    upstream.answer = ({ name, transport }) => (transport === 'udp' ? { ...a(name, 60), truncated: true } : undefined);
    await using server = await start([upstream], {
      limits: { attemptTimeoutMs: 60, hedgeMinMs: 900, hedgeMaxMs: 900 },
    });
    const reply = await ask(server, 'half.test', 'A');
    expect(reply).toMatchObject({ rcode: 'NOERROR', tc: true });
  });

  it('forwards the cluster zone in mode forward, its reverse names too, and caps the TTL', async () => {
    await using cluster = await createFakeUpstream();
    cluster.answer = ({ name, type }) => (type === 'A' ? a(name, 3_000, '10.3.0.99') : nodata(name));
    const view = fakeView({ services: [service('d', 'web', { clusterIPs: ['10.3.0.1'] })] });
    await using server = await start([cluster], { clusterZone: 'forward', cache: { maxTtlSeconds: 30 } }, { view });
    expect((await ask(server, 'web.d.svc.cluster.local', 'A')).answers).toEqual([
      'web.d.svc.cluster.local 30 A 10.3.0.99',
    ]);
    await ask(server, '1.0.3.10.in-addr.arpa', 'PTR');
    expect(cluster.asked).toHaveLength(2);
  });
});

describe('the cache', () => {
  /** The clock moves only when told; upstream timeouts do not run. */
  async function cached(options: Partial<DnsServerOptions> = {}) {
    const clock = createFakeClock();
    const upstream = await createFakeUpstream();
    const server = await start([upstream], options, { clock });
    return {
      clock,
      upstream,
      server,
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        await upstream[Symbol.asyncDispose]();
      },
    };
  }

  it('counts TTLs down, asks again when they are over, and serves every spelling', async () => {
    await using t = await cached();
    t.upstream.answer = ({ name }) => ({
      answers: [...(a(name, 60, '192.0.2.1').answers ?? []), { type: 'A', name, ttl: 50, data: '192.0.2.2' }],
    });
    expect((await ask(t.server, 'x.test', 'A')).answers).toContain('x.test 60 A 192.0.2.1');
    t.clock.advance(20_500);
    const later = await ask(t.server, 'X.Test', 'A');
    expect(later.packet.questions?.[0]?.name).toBe('X.Test');
    expect([...later.answers].sort()).toEqual(['x.test 30 A 192.0.2.2', 'x.test 40 A 192.0.2.1']);
    expect(t.upstream.asked).toHaveLength(1);
    t.clock.advance(30_000);
    await ask(t.server, 'x.test', 'A');
    expect(t.upstream.asked).toHaveLength(2);
  });

  it('keeps denials as long as their SOA says, and not those without', async () => {
    await using t = await cached();
    t.upstream.answer = ({ name }) => ({
      rcode: name.startsWith('nx') ? 3 : 0,
      authorities: name.includes('bare') ? [] : [soa(100, 40)],
    });
    for (const name of ['nx.test', 'nodata.test']) {
      expect((await ask(t.server, name, 'A')).rcode).toBe(name === 'nx.test' ? 'NXDOMAIN' : 'NOERROR');
      t.clock.advance(10_000);
      await ask(t.server, name, 'A');
    }
    expect(t.upstream.asked).toHaveLength(2);
    t.clock.advance(40_000);
    await ask(t.server, 'nx.test', 'A');
    expect(t.upstream.asked).toHaveLength(3);
    await ask(t.server, 'nx-bare.test', 'A');
    await ask(t.server, 'nx-bare.test', 'A');
    expect(t.upstream.asked).toHaveLength(5);
  });

  it('does not keep what has TTL 0', async () => {
    await using t = await cached();
    t.upstream.answer = ({ name }) => a(name, 0, '192.0.2.1');
    await ask(t.server, 'zero.test', 'A');
    await ask(t.server, 'zero.test', 'A');
    expect(t.upstream.asked).toHaveLength(2);
  });

  it('refreshes a popular answer before it ends, without anybody waiting', async () => {
    await using t = await cached();
    t.upstream.answer = ({ name }) => a(name, 100, '192.0.2.1');
    for (let i = 0; i < 5; i++) await ask(t.server, 'pop.test', 'A');
    await ask(t.server, 'rare.test', 'A');
    t.clock.advance(95_000);
    expect((await ask(t.server, 'pop.test', 'A')).answers).toEqual(['pop.test 5 A 192.0.2.1']);
    await ask(t.server, 'rare.test', 'A');
    await until(async () => (await ask(t.server, 'pop.test', 'A')).answers[0] === 'pop.test 100 A 192.0.2.1');
    expect(t.upstream.asked.map(({ name }) => name)).toEqual(['pop.test', 'rare.test', 'pop.test']);
  });

  it('serves stale when the upstream fails, with TTL 30 and a note, and recovers', async () => {
    await using t = await cached();
    await ask(t.server, 'old.test', 'A');
    t.clock.advance(61_000);
    t.upstream.answer = () => ({ rcode: 2 });
    const stale = await ask(t.server, 'old.test', 'A', { edns: 1232 });
    expect(stale.answers).toEqual(['old.test 30 A 192.0.2.1']);
    expect(stale.raw.includes('last known answer')).toBe(true);
    // Within the recheck time nobody is asked.
    const before = t.upstream.asked.length;
    await ask(t.server, 'old.test', 'A');
    expect(t.upstream.asked).toHaveLength(before);
    t.upstream.answer = ({ name }) => a(name, 60, '192.0.2.9');
    t.clock.advance(31_000);
    expect((await ask(t.server, 'old.test', 'A')).answers).toEqual(['old.test 60 A 192.0.2.9']);
  });

  it('forgets stale answers in the end', async () => {
    await using t = await cached({ cache: { maxStaleSeconds: 100 } });
    await ask(t.server, 'old.test', 'A');
    t.clock.advance(161_000);
    t.upstream.answer = () => ({ rcode: 2 });
    expect((await ask(t.server, 'old.test', 'A')).rcode).toBe('SERVFAIL');
  });

  it('gives a stale answer while a slow upstream is still thinking', async () => {
    await using upstream = await createFakeUpstream();
    upstream.answer = ({ name }) => a(name, 1, '192.0.2.1');
    await using server = await start([upstream], { limits: { staleAfterMs: 30 } });
    await ask(server, 'slow.test', 'A');
    const gate = Promise.withResolvers<void>();
    upstream.answer = async ({ name }) => {
      await gate.promise;
      return a(name, 60, '192.0.2.2');
    };
    await until(async () => (await ask(server, 'slow.test', 'A')).answers[0] === 'slow.test 30 A 192.0.2.1');
    gate.resolve();
    await until(async () => (await ask(server, 'slow.test', 'A')).answers[0] === 'slow.test 60 A 192.0.2.2');
  });

  it('serves stale at once when every upstream is down', async () => {
    const upstream = await createFakeUpstream();
    upstream.answer = ({ name }) => a(name, 1, '192.0.2.1');
    await using server = await start([upstream], { limits: { staleAfterMs: 10_000 } });
    await ask(server, 'off.test', 'A');
    await upstream[Symbol.asyncDispose]();
    let last = await ask(server, 'off.test', 'A');
    await until(async () => {
      last = await ask(server, 'off.test', 'A');
      return last.answers[0] === 'off.test 30 A 192.0.2.1';
    });
    expect(last.rcode).toBe('NOERROR');
  });

  it('stays within its entries and bytes, the least recently used going first', async () => {
    await using t = await cached({ cache: { maxEntries: 3 } });
    for (const name of ['a.test', 'b.test', 'c.test', 'a.test', 'd.test', 'a.test']) await ask(t.server, name, 'A');
    expect(t.server.status().cache.entries).toBe(3);
    expect(t.upstream.asked.map(({ name }) => name)).toEqual(['a.test', 'b.test', 'c.test', 'd.test']);
    await using small = await cached({ cache: { maxBytes: 3_000 } });
    for (let i = 0; i < 10; i++) await ask(small.server, `n${i}.test`, 'A');
    expect(small.server.status().cache.bytes).toBeLessThanOrEqual(3_000);
    expect(small.server.status().cache.entries).toBeGreaterThan(0);
  });

  it('remembers a failure for a second only', async () => {
    await using t = await cached();
    t.upstream.answer = () => ({ rcode: 2 });
    await ask(t.server, 'f.test', 'A');
    const asked = t.upstream.asked.length;
    await ask(t.server, 'f.test', 'A');
    expect(t.upstream.asked).toHaveLength(asked);
    t.clock.advance(1_001);
    t.upstream.answer = ({ name }) => a(name, 60, '192.0.2.1');
    expect((await ask(t.server, 'f.test', 'A')).rcode).toBe('NOERROR');
  });
});

describe('loops', () => {
  const states = (server: DnsServer) => server.status().upstreams.map(({ state }) => state);

  it('never asks itself', async () => {
    await using upstream = await createFakeUpstream();
    await using probe = await createDnsServer({ listen: LISTEN }, { view: fakeView() });
    const port = portOf(probe);
    await probe[Symbol.asyncDispose]();
    await using server = await start([], {
      listen: [{ address: '127.0.0.1', port }],
      upstreams: [`127.0.0.1:${port}`, `127.0.0.1:${upstream.port}`],
    });
    expect(states(server)).toEqual(['self', 'up']);
    expect((await ask(server, 'x.test', 'A')).rcode).toBe('NOERROR');
  });

  it('finds an upstream that sends queries back, stops using it, and serves on through the others', async () => {
    await using good = await createFakeUpstream();
    // A resolver on this node that forwards everything to us, as dnsmasq or systemd-resolved may be set up.
    const back = await createFakeRelay();
    await using server = await start([], { upstreams: [`127.0.0.1:${back.port}`, `127.0.0.1:${good.port}`] });
    back.target = portOf(server);
    await until(() => states(server)[0] === 'loop');
    expect((await ask(server, 'x.test', 'A')).answers).toHaveLength(1);
    expect(states(server)).toEqual(['loop', 'up']);
    back.close();
  });

  it('takes an upstream back when it no longer loops', async () => {
    await using good = await createFakeUpstream();
    const back = await createFakeRelay();
    const limits = { loopRecheckMs: 20 };
    await using server = await start([], { upstreams: [`127.0.0.1:${back.port}`], limits });
    back.target = portOf(server);
    await until(() => states(server)[0] === 'loop');
    back.target = good.port;
    await until(() => states(server)[0] === 'up');
    expect((await ask(server, 'x.test', 'A')).rcode).toBe('NOERROR');
    back.close();
  });

  it('is found between two servers that forward to each other', async () => {
    const second = await createDnsServer({ listen: LISTEN }, { view: fakeView() });
    const port = portOf(second);
    await second[Symbol.asyncDispose]();
    const limits = { probeMinMs: 10, probeMaxMs: 20 };
    await using one = await start([], { upstreams: [`127.0.0.1:${port}`], limits });
    await using two = await start([], {
      listen: [{ address: '127.0.0.1', port }],
      upstreams: [`127.0.0.1:${portOf(one)}`],
      limits,
    });
    await until(() => states(one)[0] === 'loop' || states(two)[0] === 'loop');
    expect((await ask(one, 'x.test', 'A')).rcode).toBe('SERVFAIL');
  });

  it('answers SERVFAIL, not a storm, when the only upstream is a loop', async () => {
    const back = await createFakeRelay();
    await using server = await start([], { upstreams: [`127.0.0.1:${back.port}`] });
    back.target = portOf(server);
    await until(() => states(server)[0] === 'loop');
    const relayed = back.relayed;
    expect((await ask(server, 'x.test', 'A')).rcode).toBe('SERVFAIL');
    expect(back.relayed).toBe(relayed);
    back.close();
  });
});

/** Sends every datagram it gets to `target` and the answers back. */
async function createFakeRelay() {
  const { createSocket } = await import('node:dgram');
  const front = createSocket('udp4');
  const rear = createSocket('udp4');
  const clients = new Map<number, number>();
  const held: Buffer[] = [];
  const relay = {
    port: 0,
    relayed: 0,
    set target(port: number) {
      target = port;
      for (const message of held.splice(0)) rear.send(message, port, '127.0.0.1');
    },
    close() {
      front.close();
      rear.close();
    },
  };
  let target = 0;
  front.on('message', (message, { port }) => {
    relay.relayed++;
    clients.set(message.readUInt16BE(0), port);
    if (target === 0) held.push(message);
    else rear.send(message, target, '127.0.0.1');
  });
  rear.on('message', (message) => front.send(message, clients.get(message.readUInt16BE(0)) as number, '127.0.0.1'));
  await new Promise<void>((resolve) => front.bind(0, '127.0.0.1', resolve));
  relay.port = front.address().port;
  return relay;
}

describe('autopath', () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'me', namespace: 'app' },
    status: { podIP: '127.0.0.1' },
  };
  const content = {
    services: [
      service('app', 'db', { clusterIPs: ['10.3.0.1'] }),
      service('other', 'web', { clusterIPs: ['10.3.0.2'] }),
    ],
    objects: new Map([['Pod', new Map([['app/me', pod]])]]),
  };
  const answerOnly = (upstream: FakeUpstream, known: string) => {
    upstream.answer = ({ name, type }) => {
      if (name !== known) return { rcode: 3, authorities: [soa(60, 60)] };
      return type === 'A' ? a(name, 60, '192.0.2.1') : nodata(name);
    };
  };

  it('finishes the search of a Pod in one round trip', async () => {
    await using upstream = await createFakeUpstream();
    answerOnly(upstream, 'www.example.test');
    const options = { autopath: { searchDomains: ['corp.test'] } };
    await using server = await start([upstream], options, { view: fakeView(content) });
    const reply = await ask(server, 'www.example.test.app.svc.cluster.local', 'A');
    expect(reply.answers).toEqual([
      'www.example.test.app.svc.cluster.local 60 CNAME www.example.test',
      'www.example.test 60 A 192.0.2.1',
    ]);
    expect(upstream.asked.map(({ name }) => name)).toEqual(['www.example.test.corp.test', 'www.example.test']);
    // NODATA ends the search too: musl would take an NXDOMAIN for the end of both families.
    expect((await ask(server, 'www.example.test.app.svc.cluster.local', 'AAAA')).rcode).toBe('NOERROR');
    expect((await ask(server, 'web.other.app.svc.cluster.local', 'A')).answers[1]).toContain('10.3.0.2');
    expect((await ask(server, 'none.test.app.svc.cluster.local', 'A')).rcode).toBe('NXDOMAIN');
  });

  it('leaves other namespaces and unknown clients alone', async () => {
    await using upstream = await createFakeUpstream();
    await using server = await start([upstream], { autopath: true }, { view: fakeView(content) });
    expect((await ask(server, 'www.test.other.svc.cluster.local', 'A')).rcode).toBe('NXDOMAIN');
    await using strict = await start(
      [upstream],
      { autopath: { namespaceOf: () => undefined } },
      { view: fakeView(content) },
    );
    expect((await ask(strict, 'www.test.app.svc.cluster.local', 'A')).rcode).toBe('NXDOMAIN');
    expect(upstream.asked).toEqual([]);
  });
});
