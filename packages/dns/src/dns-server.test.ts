import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { promisify } from 'node:util';
import { createRecordingLogger } from '@edgemesh/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { endpoint, fakeView, service } from '../test/catalog.ts';
import { ask, encodeQuestion, portOf, readReply, tcpExchange, udpExchange } from '../test/client.ts';
import { a, createFakeUpstream } from '../test/fake-upstream.ts';
import { createDnsServer, type DnsServerOptions } from './index.ts';

const LOOPBACK = [{ address: '127.0.0.1', port: 0 }];
const web = service('default', 'web', { clusterIPs: ['10.3.0.1'] });
const WEB = 'web.default.svc.cluster.local';

function start(options: Partial<DnsServerOptions> = {}, view = fakeView({ services: [web] })) {
  return createDnsServer({ listen: LOOPBACK, ...options }, { view });
}

describe('listening', () => {
  it('shares one ephemeral port between UDP and TCP', async () => {
    await using server = await start();
    expect(server.addresses).toEqual([{ address: '127.0.0.1', port: expect.any(Number) }]);
    expect((await ask(server, WEB, 'A')).answers).toEqual((await ask(server, WEB, 'A', { tcp: true })).answers);
  });

  it('listens on IPv6 and several addresses', async () => {
    await using server = await start({ listen: [...LOOPBACK, { address: '::1', port: 0 }] });
    const port = server.addresses[1]?.port as number;
    const reply = readReply(await udpExchange(port, encodeQuestion(WEB, 'A'), '::1'));
    expect(reply.rcode).toBe('NOERROR');
  });

  it('rejects with address and port when UDP is busy, and leaves nothing open', async () => {
    const busy = await start();
    const port = portOf(busy);
    const view = fakeView();
    const listen = [...LOOPBACK, { address: '127.0.0.1', port }];
    await expect(createDnsServer({ listen }, { view })).rejects.toMatchObject({
      name: 'DnsError',
      code: 'address-in-use',
      address: '127.0.0.1',
      port,
      transport: 'udp',
      retryable: true,
    });
    expect(view.listeners).toBe(0);
    await busy[Symbol.asyncDispose]();
    await using again = await createDnsServer({ listen }, { view });
    expect(again.addresses[1]?.port).toBe(port);
  });

  it('rejects when only TCP is busy', async () => {
    const busy = createServer().listen(0, '127.0.0.1');
    await once(busy, 'listening');
    const { port } = busy.address() as { port: number };
    await expect(start({ listen: [{ address: '127.0.0.1', port }] })).rejects.toMatchObject({
      code: 'address-in-use',
      transport: 'tcp',
      port,
    });
    busy.close();
  });

  it('rejects for an address the machine does not have', async () => {
    const listen = [{ address: '192.0.2.1', port: 0 }];
    await expect(start({ listen })).rejects.toMatchObject({ code: 'address-unavailable', address: '192.0.2.1' });
  });

  it.each([
    [{ listen: [] }, /listen/],
    [{ listen: [{ address: 'localhost', port: 53 }] }, /localhost/],
    [{ upstreams: ['dns.google'] }, /dns\.google/],
    [{ upstreams: ['10.0.0.1:99999'] }, /99999/],
    [{ clusterDomain: 'a..b' }, /clusterDomain/],
    [{ ttlSeconds: 4000 }, /ttlSeconds/],
    [{ stubDomains: { 'x y..': ['10.0.0.1'] } }, /stubDomains/],
    [{ reverseCidrs: ['10.0.0.0/33'] }, /reverseCidrs/],
    [{ limits: { maxAttempts: 0 } }, /maxAttempts/],
  ] as [Partial<DnsServerOptions>, RegExp][])('refuses the options %j', async (options, message) => {
    const started = start(options);
    await expect(started).rejects.toMatchObject({ code: 'invalid-options', retryable: false });
    await expect(started).rejects.toThrow(message);
  });

  it('is disposed once and frees the port and the view', async () => {
    const view = fakeView({ services: [web] });
    const server = await start({}, view);
    const port = portOf(server);
    await Promise.all([server[Symbol.asyncDispose](), server[Symbol.asyncDispose]()]);
    expect(view.listeners).toBe(0);
    await using next = await start({ listen: [{ address: '127.0.0.1', port }] });
    expect(portOf(next)).toBe(port);
  });
});

describe('the catalog', () => {
  it('answers SERVFAIL with a reason before the first snapshot, and the truth right after', async () => {
    const view = fakeView();
    await using server = await start({}, view);
    const early = await ask(server, WEB, 'A', { edns: 1232 });
    expect(early.rcode).toBe('SERVFAIL');
    expect(early.raw.includes('not known yet')).toBe(true);
    view.publish({ services: [web] });
    expect((await ask(server, WEB, 'A')).answers).toEqual([`${WEB} 5 A 10.3.0.1`]);
  });

  it('is followed by answers that were given before', async () => {
    const view = fakeView({ services: [web] });
    await using server = await start({ ttlSeconds: 7 }, view);
    expect((await ask(server, WEB, 'A')).answers).toEqual([`${WEB} 7 A 10.3.0.1`]);
    expect((await ask(server, 'new.default.svc.cluster.local', 'A')).rcode).toBe('NXDOMAIN');
    expect((await ask(server, 'other.svc.cluster.local', 'A')).rcode).toBe('NXDOMAIN');
    expect((await ask(server, '2.0.3.10.in-addr.arpa', 'PTR')).rcode).toBe('SERVFAIL');
    view.publish({
      services: [
        { ...web, clusterIPs: ['10.3.0.2'] },
        service('default', 'new', { clusterIPs: ['10.3.0.3'] }),
        service('other', 'x', { clusterIPs: ['10.3.0.4'] }),
      ],
    });
    expect((await ask(server, WEB, 'A')).answers).toEqual([`${WEB} 7 A 10.3.0.2`]);
    expect((await ask(server, 'new.default.svc.cluster.local', 'A')).rcode).toBe('NOERROR');
    expect((await ask(server, 'other.svc.cluster.local', 'A')).rcode).toBe('NOERROR');
    expect((await ask(server, '2.0.3.10.in-addr.arpa', 'PTR')).answers[0]).toContain(`PTR ${WEB}`);
    view.publish({});
    expect((await ask(server, WEB, 'A')).rcode).toBe('NXDOMAIN');
    expect((await ask(server, 'other.svc.cluster.local', 'A')).rcode).toBe('NXDOMAIN');
  });

  it('keeps answers whose Service did not change', async () => {
    const view = fakeView({ services: [web] });
    await using server = await start({}, view);
    await ask(server, WEB, 'A');
    await ask(server, 'nobody.elsewhere.svc.cluster.local', 'A');
    view.publish({ services: [web, service('elsewhere', 'nobody')] }, { services: new Set(['elsewhere/nobody']) });
    expect(server.status().zone).toMatchObject({ encodedAnswers: 1, revision: 2 });
  });

  it('gives the addresses that addressOf puts in place of endpoints of headless Services', async () => {
    let virtual = '169.254.100.1';
    const view = fakeView({
      services: [service('default', 'db', { headless: true }), web],
      endpoints: { 'default/db': [endpoint('172.17.0.2', { hostname: 'db-0' }), endpoint('172.17.0.3')] },
    });
    await using server = await createDnsServer(
      { listen: LOOPBACK },
      { view, addressOf: (_service, { hostname }) => (hostname === 'db-0' ? virtual : undefined) },
    );
    const answers = async (name: string, type = 'A') => (await ask(server, name, type)).answers;
    expect(await answers('db-0.db.default.svc.cluster.local')).toEqual([
      'db-0.db.default.svc.cluster.local 5 A 169.254.100.1',
    ]);
    expect(await answers('db.default.svc.cluster.local')).toHaveLength(2);
    expect((await answers('1.100.254.169.in-addr.arpa', 'PTR'))[0]).toContain('db-0.db.default');
    virtual = '169.254.100.9';
    server.invalidate(['default/db']);
    expect((await answers('db-0.db.default.svc.cluster.local'))[0]).toContain('169.254.100.9');
    expect((await answers('9.100.254.169.in-addr.arpa', 'PTR'))[0]).toContain('db-0.db.default');
  });

  it('verifies pods by their objects and endpoints in mode verified, and knows none in mode disabled', async () => {
    const pods = new Map([
      [
        'default/p',
        {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'p', namespace: 'default' },
          status: { podIPs: [{ ip: '10.1.2.3' }] },
        },
      ],
      [
        'default/bad',
        {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'bad', namespace: 'default' },
          status: { podIPs: [null, 7] },
        },
      ],
    ]);
    const view = () => fakeView({ services: [web], objects: new Map([['Pod', pods]]) });
    const name = '10-1-2-3.default.pod.cluster.local';
    await using verified = await start({ pods: 'verified' }, view());
    expect((await ask(verified, name, 'A')).rcode).toBe('NOERROR');
    expect((await ask(verified, '10-1-2-4.default.pod.cluster.local', 'A')).rcode).toBe('NXDOMAIN');
    expect((await ask(verified, '10-1-2-3.other.pod.cluster.local', 'A')).rcode).toBe('NXDOMAIN');
    await using disabled = await start({ pods: 'disabled' }, view());
    expect((await ask(disabled, name, 'A')).rcode).toBe('NXDOMAIN');
  });
});

describe('faults', () => {
  it('of the addressOf hook leave the endpoint its own address', async () => {
    const log = createRecordingLogger();
    const view = fakeView({
      services: [service('default', 'db', { headless: true })],
      endpoints: { 'default/db': [endpoint('10.244.0.1')] },
    });
    const addressOf = () => {
      throw new Error('no idea');
    };
    await using server = await createDnsServer({ listen: LOOPBACK }, { view, log, addressOf });
    expect((await ask(server, 'db.default.svc.cluster.local', 'A')).answers[0]).toContain('10.244.0.1');
    expect(log.lines.some(({ message }) => message === 'addressOf failed')).toBe(true);
  });

  it('inside a query cost that query its answer and nothing else', async () => {
    const view = fakeView({ services: [web] });
    const log = createRecordingLogger();
    await using server = await createDnsServer(
      {
        listen: LOOPBACK,
        autopath: {
          namespaceOf: () => {
            throw new Error('broken');
          },
        },
      },
      { view, log },
    );
    expect((await ask(server, 'a.b.c.svc.cluster.local', 'A')).rcode).toBe('SERVFAIL');
    expect((await ask(server, WEB, 'A')).rcode).toBe('NOERROR');
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
  });
});

describe('the wire', () => {
  const many = fakeView({
    services: [service('default', 'big', { headless: true })],
    endpoints: { 'default/big': Array.from({ length: 200 }, (_, i) => endpoint(`10.244.${i >> 7}.${i & 127}`)) },
  });
  const BIG = 'big.default.svc.cluster.local';

  it('truncates to 512 bytes, to the client’s size, never above 1232, and gives all over TCP', async () => {
    await using server = await start({}, many);
    const plain = await ask(server, BIG, 'A');
    expect(plain.tc).toBe(true);
    expect(plain.raw.length).toBeLessThanOrEqual(512);
    expect(plain.answers.length).toBeGreaterThan(20);
    const edns = await ask(server, BIG, 'A', { edns: 4096 });
    expect(edns.raw.length).toBeLessThanOrEqual(1232);
    expect(edns.answers.length).toBeGreaterThan(plain.answers.length);
    expect(edns.opt?.udpPayloadSize).toBe(1232);
    const whole = await ask(server, BIG, 'A', { tcp: true });
    expect(whole.tc).toBe(false);
    expect(whole.answers).toHaveLength(200);
  });

  it('reads TCP messages cut anywhere and several in one chunk', async () => {
    await using server = await start();
    const queries = Array.from({ length: 5 }, () => encodeQuestion(WEB, 'A'));
    for (const chunk of [1, 3, 65_536]) {
      const replies = await tcpExchange(portOf(server), queries, chunk);
      const ids = replies.map((reply) => reply.readUInt16BE(0)).sort();
      expect(ids).toEqual(queries.map((query) => query.readUInt16BE(0)).sort());
    }
  });

  it('answers a pipelined query that is ready before one that waits', async () => {
    await using upstream = await createFakeUpstream();
    const gate = Promise.withResolvers<void>();
    upstream.answer = async ({ name }) => {
      await gate.promise;
      return a(name, 60, '192.0.2.1');
    };
    await using server = await start({ upstreams: [`127.0.0.1:${upstream.port}`] });
    const slow = encodeQuestion('slow.test', 'A');
    const fast = encodeQuestion(WEB, 'A');
    const both = tcpExchange(portOf(server), [slow, fast]);
    while (upstream.asked.length === 0) await new Promise(setImmediate);
    gate.resolve();
    expect((await both).map((reply) => reply.readUInt16BE(0))).toEqual([fast.readUInt16BE(0), slow.readUInt16BE(0)]);
  });

  it('takes no more queries of a TCP client than may be under way, and the rest when answers have gone', async () => {
    await using upstream = await createFakeUpstream();
    const gate = Promise.withResolvers<void>();
    upstream.answer = async ({ name }) => {
      await gate.promise;
      return a(name, 60, '192.0.2.1');
    };
    const limits = { maxTcpPipeline: 4, hedgeMinMs: 4_000, hedgeMaxMs: 8_000 };
    await using server = await start({ upstreams: [`127.0.0.1:${upstream.port}`], limits });
    const queries = Array.from({ length: 30 }, (_, i) => encodeQuestion(`n${i}.test`, 'A'));
    const replies = tcpExchange(portOf(server), queries);
    while (upstream.asked.length < 4) await new Promise(setImmediate);
    await ask(server, WEB, 'A', { tcp: true });
    expect(upstream.asked).toHaveLength(4);
    gate.resolve();
    expect(await replies).toHaveLength(30);
  });

  it('closes idle TCP clients, also those that send half a message', async () => {
    await using server = await start({ limits: { tcpIdleMs: 60 } });
    const socket = connect(portOf(server), '127.0.0.1');
    socket.on('connect', () => socket.write(Buffer.from([0, 50, 1])));
    await once(socket, 'close');
  });

  it('turns away connections above the limits', async () => {
    await using server = await start({ limits: { maxTcpPerClient: 2 } });
    const open = [connect(portOf(server), '127.0.0.1'), connect(portOf(server), '127.0.0.1')];
    await Promise.all(open.map((socket) => once(socket, 'connect')));
    await tcpExchangeOn(open[0] as ReturnType<typeof connect>);
    const third = connect(portOf(server), '127.0.0.1');
    third.on('error', () => third.destroy());
    await once(third, 'close');
    for (const socket of open) socket.destroy();
  });

  it('answers what a client asked before it half-closed', async () => {
    await using server = await start();
    const socket = connect({ port: portOf(server), host: '127.0.0.1', allowHalfOpen: true });
    const query = encodeQuestion(WEB, 'A');
    socket.end(Buffer.concat([Buffer.from([0, query.length]), query]));
    const [reply] = (await once(socket, 'data')) as [Buffer];
    expect(readReply(reply.subarray(2)).rcode).toBe('NOERROR');
    await once(socket, 'end');
  });

  it('stays alive and answers on under a rain of mutated packets', async () => {
    await using server = await start();
    const valid = encodeQuestion(WEB, 'A', { edns: 1232 });
    const socket = createSocket('udp4');
    const edits = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 5 });
    for (const edit of fc.sample(edits, 500)) {
      const bytes = Buffer.from(valid);
      for (const [at, value] of edit) bytes[at] = value;
      socket.send(bytes, portOf(server), '127.0.0.1');
    }
    expect((await ask(server, WEB, 'A')).rcode).toBe('NOERROR');
    socket.close();
  });
});

async function tcpExchangeOn(socket: ReturnType<typeof connect>): Promise<void> {
  const query = encodeQuestion(WEB, 'A');
  socket.write(Buffer.concat([Buffer.from([0, query.length]), query]));
  await once(socket, 'data');
}

const run = promisify(execFile);
const hasDig = await run('dig', ['-v']).then(
  () => true,
  () => false,
);

describe.skipIf(!hasDig)('dig', () => {
  const dig = async (port: number, ...args: string[]) =>
    (await run('dig', ['@127.0.0.1', '-p', String(port), '+tries=1', '+timeout=3', ...args])).stdout;

  it('is content with our answers, cookies and all', async () => {
    await using server = await start();
    const out = await dig(portOf(server), WEB);
    expect(out).toContain('status: NOERROR');
    expect(out).toMatch(/flags: qr aa rd ra;/);
    expect(out).not.toMatch(/malformed|Warning|mismatch/);
  });

  it('comes again by TCP when the answer is truncated', async () => {
    const endpoints = Array.from({ length: 100 }, (_, i) => endpoint(`10.244.0.${i}`));
    const view = fakeView({ services: [service('d', 'big', { headless: true })], endpoints: { 'd/big': endpoints } });
    await using server = await start({}, view);
    const out = await dig(portOf(server), 'big.d.svc.cluster.local', '+noedns');
    expect(out).toContain('(TCP)');
    expect(out).toContain('ANSWER: 100');
  });

  it.each([
    [['+edns=1', '+noednsnegotiation', WEB], /status: BADVERS/],
    [['CH', 'TXT', 'version.bind'], /status: REFUSED/],
    [['+opcode=NOTIFY', WEB], /status: NOTIMP/],
    [['+opcode=UPDATE', WEB], /status: NOTIMP/],
    [['AXFR', '+notcp', 'cluster.local'], /Transfer failed|REFUSED|communications error/],
    [['+dnssec', WEB], /flags: do; udp: 1232/],
    [['-x', '10.3.0.1'], new RegExp(`PTR\\s+${WEB.replaceAll('.', '\\.')}`)],
    [['nobody.test', '+ednsopt=65001:ab'], /EDE: 22/],
  ] as [string[], RegExp][])('%j gets its answer', async (args, expected) => {
    await using server = await start();
    expect(await dig(portOf(server), ...args).catch((error: { stdout: string }) => error.stdout)).toMatch(expected);
  });
});
