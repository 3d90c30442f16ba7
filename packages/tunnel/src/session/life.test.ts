import { MeshError } from '@edgemesh/core';
import { recordDatagrams, recordStream } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { simPair } from '../../bench/sim-link.ts';
import { simNodes } from '../../bench/sim-nodes.ts';
import type { Session } from '../types.ts';
import { encodeAttach, encodeFrame, FRAME } from './wire.ts';

const target = { address: '10.0.0.1', port: 80 };

describe('a session before its first carrier', () => {
  it('keeps what is dialled and written until a carrier comes', async () => {
    const net = simNodes();
    const session = net.a.table.reserve('b', 'node-b');
    expect(session.state).toBe('suspended');
    const stream = recordStream(session.dial(target));
    const channel = recordDatagrams(session.openDatagrams(target));
    stream.write('early');
    channel.send('question');
    net.connect();
    await net.settle();
    const far = recordStream(net.b.streams[0] as never);
    const farChannel = recordDatagrams(net.b.channels[0] as never);
    await net.settle();
    expect([far.text(), farChannel.messages.map(String)]).toEqual(['early', ['question']]);
    expect(session.state).toBe('active');
    await net.dispose();
  });

  it('sends the first bytes with the first flight, before anything came back', async () => {
    const net = simNodes();
    const stream = recordStream(net.a.table.reserve('b', 'node-b').dial(target));
    stream.write('early');
    const [, atB] = net.connect();
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(Buffer.concat(atB.inbox).includes('early')).toBe(true);
    await net.dispose();
  });

  it('ends streams as unreachable, to be tried elsewhere, when no carrier comes in time', async () => {
    const net = simNodes();
    const stream = recordStream(net.a.table.reserve('b', 'node-b').dial(target, { timeoutMs: 3_000 }));
    stream.write('x');
    net.clock.advance(2_999);
    expect(stream.closed).toBe(false);
    net.clock.advance(1);
    expect(stream.error).toMatchObject({ code: 'unreachable', retryable: true });
    net.clock.advance(100_000);
    expect(net.a.table.sessions()).toEqual([]);
    expect(net.clock.pendingTimers).toBe(0);
  });

  it('reserves one session per peer, and none with itself', () => {
    const net = simNodes({ maxSessions: 1 });
    expect(net.a.table.reserve('b', 'node-b')).toBe(net.a.table.reserve('b', 'node-b'));
    expect(() => net.a.table.reserve('a', 'node-a')).toThrow(/own node key/);
    expect(() => net.a.table.reserve('c', 'node-c')).toThrow(/maxSessions/);
  });
});

describe('a dial', () => {
  it('times out when the far side neither accepts nor refuses', async () => {
    const nothing = () => undefined;
    const silent = {
      attach: nothing,
      write: () => true,
      end: nothing,
      reset: nothing,
      pause: nothing,
      resume: nothing,
    };
    const net = simNodes({}, { openStream: () => silent });
    net.connect();
    const stream = recordStream((net.a.table.get('b') as Session).dial(target));
    await net.settle();
    await net.pass(10_000, 500);
    expect(stream.error).toMatchObject({ code: 'timeout', retryable: false });
    expect(net.a.table.get('b')?.stats().streams).toBe(0);
    await net.dispose();
  });

  it('may be tried elsewhere when the far side refused it', async () => {
    const net = simNodes({}, { openStream: () => new MeshError('refused', 'nobody listens') });
    net.connect();
    const stream = recordStream(net.a.table.reserve('b', 'node-b').dial(target));
    stream.write('lost');
    await net.settle();
    expect(stream.error).toMatchObject({ code: 'refused', message: 'nobody listens', retryable: true });
    await net.dispose();
  });

  it('refuses one stream, not the session, when the handler throws', async () => {
    const net = simNodes(
      {},
      {
        openStream: () => {
          throw new Error('bug');
        },
      },
    );
    net.connect();
    const stream = recordStream(net.a.table.reserve('b', 'node-b').dial(target));
    await net.settle();
    expect(stream.error).toMatchObject({ code: 'unreachable' });
    expect(net.a.table.get('b')?.state).toBe('active');
    await net.dispose();
  });
});

describe('limits', () => {
  it.each([
    ['maxStreamsOutPerPeer', 2],
    ['maxStreamsOut', 2],
    ['maxStreamsInPerPeer', 2],
    ['maxStreamsIn', 2],
    ['maxOpensPerSecond', 2],
  ] as const)('refuse the stream beyond %s, and name it', async (name, max) => {
    const net = simNodes({ [name]: max, limitPatienceMs: 0 });
    net.connect();
    const session = net.a.table.reserve('b', 'node-b');
    const streams = Array.from({ length: 4 }, () => recordStream(session.dial(target)));
    await net.settle();
    const refused = streams.filter((stream) => stream.closed);
    expect(refused).toHaveLength(2);
    for (const { error } of refused) {
      expect(error).toMatchObject({ code: 'limit', retryable: true });
      expect(error?.message).toContain(name);
    }
    for (const stream of streams) stream.reset();
    await net.settle();
    await net.pass(1_000);
    const again = recordStream(session.dial(target));
    await net.settle();
    expect(again.closed).toBe(false);
    await net.dispose();
  });

  it('let a burst beyond the limit of a peer wait in order, and refuse what has waited for long', async () => {
    const net = simNodes({ maxStreamsOutPerPeer: 2, maxStreamsWaitingPerPeer: 2 });
    net.connect();
    const session = net.a.table.reserve('b', 'node-b');
    const streams = Array.from({ length: 5 }, () => recordStream(session.dial(target)));
    await net.settle();
    expect(streams.map((stream) => stream.closed)).toEqual([false, false, false, false, true]);
    expect(streams[4]?.error).toMatchObject({ code: 'limit', retryable: true });
    streams[0]?.reset();
    streams[2]?.write('in line');
    await net.settle();
    expect(net.b.streams).toHaveLength(3);
    await net.pass(2_100);
    expect(streams.map((stream) => stream.closed)).toEqual([true, false, false, true, true]);
    expect(streams[3]?.error).toMatchObject({
      code: 'limit',
      message: expect.stringContaining('maxStreamsOutPerPeer'),
    });
    await net.dispose();
  });

  it('let streams beyond the limit wait as long as there is no path', async () => {
    const net = simNodes({ maxStreamsOutPerPeer: 1 });
    const session = net.a.table.reserve('b', 'node-b');
    const [first, second] = [recordStream(session.dial(target)), recordStream(session.dial(target))];
    await net.pass(8_000);
    expect([first.closed, second.closed]).toEqual([false, false]);
    net.connect();
    await net.settle();
    first.reset();
    await net.settle();
    expect(net.b.streams).toHaveLength(2);
    expect(second.closed).toBe(false);
    await net.dispose();
  });

  it('reset the stream whose reader leaves too much unread', async () => {
    const net = simNodes({ maxUnreadBytesPerSession: 100_000 });
    net.connect();
    const stream = recordStream(net.a.table.reserve('b', 'node-b').dial(target));
    await net.settle();
    // The far end of the pair does not read: its window of 64 KiB, then the session's.
    stream.write(Buffer.alloc(400_000));
    await net.settle();
    expect(stream.error).toMatchObject({ code: 'limit' });
    expect(net.a.table.get('b')?.state).toBe('active');
    await net.dispose();
  });

  it('drop and count datagrams that a full carrier cannot take, and keep streams going', async () => {
    const net = simNodes({ maxDatagramQueueBytes: 200_000 });
    net.connect();
    const session = net.a.table.reserve('b', 'node-b');
    const channel = session.openDatagrams({ ...target, kind: 'packets' });
    const results = Array.from({ length: 10 }, () => channel.send(Buffer.alloc(65_555)));
    expect(results.filter(Boolean)).toHaveLength(3);
    const stream = recordStream(session.dial(target));
    stream.write('not blocked');
    await net.settle();
    const far = recordStream(net.b.streams[0] as never);
    await net.settle();
    expect(far.text()).toBe('not blocked');
    await net.dispose();
  });
});

describe('a slow reader', () => {
  it('holds back its own stream and no other', async () => {
    const net = simNodes();
    net.connect();
    const session = net.a.table.reserve('b', 'node-b');
    const slow = recordStream(session.dial(target));
    const quick = recordStream(session.dial(target));
    let held = false;
    for (let i = 0; i < 40; i++) held = !slow.write(Buffer.alloc(65_536));
    await net.settle();
    expect(held).toBe(true);
    quick.write('overtakes');
    await net.settle();
    const far = recordStream(net.b.streams[1] as never);
    await net.settle();
    expect(far.text()).toBe('overtakes');
    await net.dispose();
  });
});

describe('a slow path', () => {
  it('takes all that one writer lends, although its batches are no larger than one full read', async () => {
    const net = simNodes();
    net.connect('direct', net.b, 'a', { batchBytes: 65_536 });
    const near = recordStream(net.a.table.reserve('b', 'node-b').dial(target));
    await net.settle();
    const far = recordStream(net.b.streams[0] as never);
    const read = Buffer.alloc(40_000, 'abcdefg');
    for (let i = 0; i < 32; i++) {
      const before = near.drains;
      if (near.stream.writeCopy?.(read)) continue;
      for (let waits = 0; waits < 20 && near.drains === before; waits++) await net.pass(100);
      expect(near.drains, `drained after read ${i}`).toBe(before + 1);
    }
    await net.pass(100);
    expect(far.receivedBytes).toBe(32 * read.length);
    await net.dispose();
  });
});

describe('a lost carrier', () => {
  it('suspends the session and streams go on over the next one', async () => {
    const net = simNodes();
    const [atA, atB] = net.connect();
    const session = net.a.table.reserve('b', 'node-b');
    const stream = recordStream(session.dial(target));
    await net.settle();
    const far = recordStream(net.b.streams[0] as never);
    atA.lose();
    atB.lose();
    expect([session.state, session.carrier]).toEqual(['suspended', undefined]);
    stream.write('across');
    await net.pass(20_000, 1_000);
    net.connect('relayed', net.b, 'b');
    await net.settle();
    expect([far.text(), session.state, session.stats().resumptions]).toEqual(['across', 'active', 1]);
    expect(net.a.events.map(({ type }) => type)).toEqual(['opened', 'carrier-lost', 'suspended', 'resumed']);
    await net.dispose();
  });

  it('ends the streams when none follows within the grace period', async () => {
    const net = simNodes({ graceMs: 30_000 });
    const [atA, atB] = net.connect();
    const stream = recordStream(net.a.table.reserve('b', 'node-b').dial(target));
    await net.settle();
    const far = recordStream(net.b.streams[0] as never);
    atA.lose();
    atB.lose();
    net.clock.advance(29_999);
    expect(stream.closed).toBe(false);
    net.clock.advance(1);
    await net.settle();
    expect([stream.error?.code, far.error?.code]).toEqual(['session-lost', 'session-lost']);
    expect(net.a.table.sessions()).toEqual([]);
    expect(net.clock.pendingTimers).toBe(0);
  });

  it('is noticed within seconds when the path only falls silent', async () => {
    const net = simNodes();
    net.connect();
    const session = net.a.table.reserve('b', 'node-b');
    const stream = recordStream(session.dial(target));
    await net.settle();
    await net.pass(1_000);
    net.links.length = 0; // nothing is delivered any more
    stream.write('into the void');
    await net.settle();
    await net.pass(5_000);
    expect(session.state).toBe('active');
    await net.pass(3_000);
    expect(session.state).toBe('suspended');
    expect(net.a.events.find(({ type }) => type === 'carrier-lost')).toMatchObject({ reason: { code: 'timeout' } });
    await net.dispose();
  });

  it('leaves an idle session with no traffic but a ping now and then', async () => {
    const net = simNodes();
    const [atA, atB] = net.connect();
    await net.settle();
    await net.pass(1_000);
    let bytes = 0;
    for (const end of [atA, atB]) {
      const write = end.write.bind(end);
      end.write = (given) => {
        bytes += given.length;
        write(given);
      };
    }
    await net.pass(100_000, 1_000);
    expect(bytes).toBeGreaterThan(0);
    // Pings and answers of 16 bytes, each side every 25 s at most.
    expect(bytes).toBeLessThanOrEqual(4 * 2 * 2 * 16);
    expect(net.a.table.get('b')?.state).toBe('active');
    await net.dispose();
  });
});

describe('several carriers', () => {
  it.each([
    ['a', 'b'],
    ['b', 'a'],
  ] as const)('opened by both ends at once end as one (%s first)', async (first, second) => {
    const net = simNodes();
    net.connect('direct', net.b, first);
    net.connect('direct', net.b, second);
    await net.settle();
    const alive = net.links.filter(([x, y]) => !x.closed && !y.closed);
    expect(alive).toHaveLength(1);
    expect(net.a.table.get('b')?.carrier).toBe(alive[0]?.[0]);
    expect(net.b.table.get('a')?.carrier).toBe(alive[0]?.[1]);
    await net.dispose();
  });

  it('end as the best path, and a worse one changes nothing unless it is preferred', async () => {
    const net = simNodes();
    net.connect('relayed');
    await net.settle();
    const lan = net.connect('lan', net.b, 'b');
    await net.settle();
    expect(net.a.table.get('b')?.carrier).toBe(lan[0]);
    net.connect('direct');
    await net.settle();
    expect(net.a.table.get('b')?.carrier).toBe(lan[0]);
    const pair = simPair('a', 'b', 'relayed', 'b');
    net.links.push(pair);
    net.a.table.attach(pair[0]);
    net.b.table.attach(pair[1], { preferred: true });
    await net.settle();
    expect(net.a.table.get('b')?.carrier).toBe(pair[0]);
    expect(net.links.filter(([x, y]) => !x.closed && !y.closed)).toHaveLength(1);
    await net.dispose();
  });

  it('drops one that the peer never uses', async () => {
    const net = simNodes();
    net.connect();
    await net.settle();
    const [lonely] = simPair('a', 'b', 'lan', 'a');
    net.a.table.attach(lonely);
    await net.pass(12_000, 500);
    expect(lonely.closed).toBe(true);
    expect(net.a.table.get('b')?.state).toBe('active');
    await net.dispose();
  });
});

describe('a peer that has restarted', () => {
  it('does not resume: old streams are lost, new ones work at once', async () => {
    const net = simNodes();
    const [atA, atB] = net.connect();
    const session = net.a.table.reserve('b', 'node-b');
    const old = recordStream(session.dial(target));
    old.write('x');
    await net.settle();
    atB.closed = true; // killed: says nothing
    const reborn = net.remake();
    net.connect('direct', reborn);
    await net.settle();
    expect(old.error).toMatchObject({ code: 'session-lost' });
    expect(old.error?.message).toContain('restarted');
    const fresh = recordStream(session.dial(target));
    fresh.write('hello');
    await net.settle();
    const far = recordStream(reborn.streams[0] as never);
    await net.settle();
    expect(far.text()).toBe('hello');
    expect(atA.closed).toBe(true);
    await reborn.table[Symbol.asyncDispose]();
    await net.dispose();
  });
});

describe('a peer that breaks the protocol', () => {
  it.each([
    ['an OPEN with an id of ours', encodeFrame(FRAME.open, 1, Buffer.from([0, 0, 80, 0, 0]))],
    ['more data than the credit', undefined],
    ['a HELLO inside the session', encodeFrame(FRAME.hello, 0)],
    ['an acknowledgement of bytes never sent', encodeFrame(FRAME.ack, 0, Buffer.alloc(8, 1))],
    ['an oversized frame', Buffer.from([FRAME.data, 0xff, 0xff, 0xff, 0, 0, 0, 1])],
    ['REPLAY that nobody announced', encodeFrame(FRAME.replay, 0, Buffer.alloc(9))],
    ['a malformed START', encodeFrame(FRAME.start, 0, Buffer.alloc(3))],
  ])('loses its session by %s, and the error names it', async (_name, bytes) => {
    const net = simNodes();
    const [, atB] = net.connect();
    const stream = recordStream(net.a.table.reserve('b', 'node-b').dial(target));
    await net.settle();
    if (bytes !== undefined) atB.write(bytes);
    else for (let i = 0; i < 6; i++) atB.write(encodeFrame(FRAME.data, 1, Buffer.alloc(65_536)));
    // The reader is paused: nothing of it is consumed.
    stream.pause();
    await net.settle();
    expect(stream.error).toMatchObject({ code: 'protocol' });
    expect(stream.error?.message).toContain('node-b');
    expect(net.a.table.get('b')).toBeUndefined();
    expect(net.b.table.get('a')).toBeUndefined();
    expect(net.clock.pendingTimers).toBe(0);
  });

  it('loses its session when it opens on and on and does not read the refusals', async () => {
    const net = simNodes({ maxStreamsInPerPeer: 1 });
    const [atA, atB] = net.connect();
    await net.settle();
    // Nothing of what a answers is taken.
    const nobody = { isReady: false };
    Object.defineProperty(atB, 'isReady', { get: () => nobody.isReady });
    let id = 2;
    for (let i = 0; i < 40 && net.a.table.get('b') !== undefined; i++) {
      const opens = Array.from({ length: 1_000 }, () => {
        id += 2;
        return encodeFrame(FRAME.open, id, Buffer.from([0, 0, 80, 0, 0]));
      });
      atB.write(Buffer.concat(opens));
      while (atA.isReady) atA.step(1e9);
    }
    expect(net.a.table.get('b')).toBeUndefined();
    expect(net.a.events.at(-1)).toMatchObject({ type: 'closed' });
    await net.dispose();
  });

  it('loses its session when it begins anew again and again', async () => {
    const net = simNodes();
    const [atA, atB] = net.connect();
    await net.settle();
    for (let i = 1; i <= 9; i++) {
      const attach = { localId: String(i).repeat(32), remoteId: '', received: 0, lastStart: 0 };
      atB.write(
        encodeFrame(FRAME.attach, 0, encodeAttach({ ...attach, path: 'lan', needed: false, preferred: false })),
      );
      while (atA.isReady) atA.step(1e9);
    }
    expect(net.a.table.get('b')).toBeUndefined();
    await net.dispose();
  });
});
