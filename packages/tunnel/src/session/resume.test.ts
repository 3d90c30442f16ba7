import { setImmediate as turn } from 'node:timers/promises';
import type { ByteStream } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { createStreamPair, type RecordedStream, recordStream } from '@edgemesh/testkit/conformance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type SimLink, seeded, simPair } from '../../bench/sim-link.ts';
import { type InboundHandler, PATH_KINDS } from '../types.ts';
import { isBetter, judgeAttach } from './resume.ts';
import { createSessionTable } from './table.ts';

const target = { address: '10.0.0.1', port: 80 };

/** Bytes that tell their position: any loss, repetition or change of order shows. */
function pattern(seed: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = seed * 2_654_435_761 + 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Two nodes, simulated carriers between them, a clock that stands still, and a random number for every choice. */
function world(seed: number) {
  const random = seeded(seed);
  const clock = createFakeClock();
  const accepted: { a: ByteStream[]; b: ByteStream[] } = { a: [], b: [] };
  const inbound = (side: 'a' | 'b'): InboundHandler => ({
    openStream: () => {
      const pair = createStreamPair();
      accepted[side].push(pair.b);
      return pair.a;
    },
    openDatagrams: () => {
      throw new Error('not used');
    },
  });
  const make = (side: 'a' | 'b') =>
    createSessionTable({
      identity: { peerId: side },
      nodeName: side,
      inbound: inbound(side),
      clock,
      // Small, so that a full replay log is met often.
      options: { maxUnacknowledgedBytes: 100_000 },
    });
  const tables = { a: make('a'), b: make('b') };
  const links: [SimLink, SimLink][] = [];
  const waiting: (() => void)[] = [];
  const open = (at?: { path: (typeof PATH_KINDS)[number]; dialledBy: 'a' | 'b' }) => {
    const path = at?.path ?? (PATH_KINDS[random(PATH_KINDS.length)] as 'lan');
    const pair = simPair('a', 'b', path, at?.dialledBy ?? (random(2) === 0 ? 'a' : 'b'), {
      capacity: 1 + random(60_000),
      batchBytes: 65_536 << random(3),
    });
    links.push(pair);
    // Each side learns of the carrier at its own time.
    waiting.push(
      () => tables.a.attach(pair[0]),
      () => tables.b.attach(pair[1]),
    );
  };
  const attachOne = () => {
    const [run] = waiting.splice(random(waiting.length), 1);
    run?.();
  };
  const deliver = (bytes: number) => {
    const ready = links.flat().filter((end) => end.isReady);
    const end = ready[random(ready.length)];
    end?.step(bytes);
    return ready.length > 0;
  };
  /** Lets everything happen that can happen. */
  const settle = async (done: () => boolean) => {
    for (let i = 0; i < 30_000 && !done(); i++) {
      if (waiting.length > 0) attachOne();
      // The path machine dials again when it has lost everything.
      else if (links.every(([a, b]) => a.closed || b.closed)) open();
      if (!deliver(65_536)) {
        await turn();
        // Nothing on its way: time passes, for acknowledgements and pings.
        if (!links.flat().some((end) => end.isReady)) clock.advance(50);
      }
    }
  };
  return { random, clock, accepted, tables, make, links, waiting, open, attachOne, deliver, settle };
}

type World = ReturnType<typeof world>;

async function randomSteps({ random, clock, links, waiting, open, attachOne, deliver }: World, steps: number) {
  for (let i = 0; i < steps; i++) {
    const choice = random(100);
    if (choice < 2) open();
    else if (choice < 6 && waiting.length > 0) attachOne();
    else if (choice < 8) {
      // Cut: each side notices at its own time, wherever the bytes are.
      const pair = links[random(links.length)];
      pair?.[random(2)]?.lose();
    } else if (choice < 12) clock.advance(random(60));
    else if (choice < 80) deliver(1 + random(random(4) === 0 ? 20 : 40_000));
    else await turn();
  }
}

async function transfer(seed: number, streamsPerSide: number, bytes: number): Promise<void> {
  const w = world(seed);
  const ends: { from: RecordedStream; expected: Buffer; index: number; side: 'a' | 'b' }[] = [];
  for (const side of ['a', 'b'] as const) {
    const session = w.tables[side].reserve(side === 'a' ? 'b' : 'a', 'far');
    for (let i = 0; i < streamsPerSide; i++) {
      const from = recordStream(session.dial(target, { timeoutMs: 10 ** 9 }));
      ends.push({ from, expected: pattern(seed + i, bytes), index: i, side });
    }
  }
  w.open();
  const pumps = ends.map(async ({ from, expected }) => {
    const chunks: Buffer[] = [];
    for (let at = 0; at < expected.length; ) {
      const next = at + 1 + w.random(20_000);
      chunks.push(Buffer.from(expected.subarray(at, next)));
      at = next;
    }
    await from.pump(chunks);
    from.end();
  });
  // Whoever is asked sends everything back; acceptance order is opening order.
  const echoes: RecordedStream[] = [];
  const echoNew = () => {
    for (const side of ['a', 'b'] as const) {
      for (const stream of w.accepted[side].splice(0)) {
        const echo: RecordedStream = recordStream(stream, {
          onData: (chunk) => void echo.write(Buffer.from(chunk)),
          onEnded: () => echo.end(),
        });
        echoes.push(echo);
      }
    }
  };
  for (let round = 0; round < 20; round++) {
    await randomSteps(w, 60);
    echoNew();
  }
  w.open();
  await w.settle(() => {
    echoNew();
    return ends.every(({ from }) => from.closed);
  });
  await Promise.all(pumps);
  for (const { from, expected } of ends) {
    expect(from.error).toBeUndefined();
    expect(from.violations).toEqual([]);
    expect(Buffer.compare(from.bytes(), expected)).toBe(0);
  }
  await checkConverged(w);
}

async function checkConverged(w: World): Promise<void> {
  const sessions = { a: w.tables.a.get('b'), b: w.tables.b.get('a') };
  await w.settle(() => {
    const idle = [sessions.a, sessions.b].every((s) => s?.stats().streams === 0 && s.stats().unacknowledgedBytes === 0);
    const active = sessions.a?.state === 'active' && sessions.b?.state === 'active';
    return idle && active && w.waiting.length === 0 && w.links.filter(([x, y]) => !x.closed || !y.closed).length === 1;
  });
  const alive = w.links.filter(([x, y]) => !x.closed && !y.closed);
  expect(alive).toHaveLength(1);
  expect(sessions.a?.carrier).toBe(alive[0]?.[0]);
  expect(sessions.b?.carrier).toBe(alive[0]?.[1]);
  await w.tables.a[Symbol.asyncDispose]();
  await w.tables.b[Symbol.asyncDispose]();
  expect(w.clock.pendingTimers).toBe(0);
}

describe('a session across carriers', () => {
  it('loses, doubles and reorders nothing, whatever carriers come, go and break, at whatever byte', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 }), fc.integer({ min: 1, max: 3 }), (seed, streams) =>
        transfer(seed, streams, 150_000),
      ),
      { numRuns: Number(process.env.RESUME_RUNS ?? 25), endOnFailure: true },
    );
  });
});

describe('judgeAttach', () => {
  it.each([
    ['', '', 'adopt'],
    ['', 'me', 'adopt'],
    ['', 'earlier me', 'ignore'],
    ['peer', 'me', 'resume'],
    ['peer', '', 'resume'],
    ['peer', 'earlier me', 'ignore'],
    ['earlier peer', 'me', 'restart'],
    ['earlier peer', '', 'restart'],
  ] as const)('knowing %j and being known as %j means %s', (remoteId, view, verdict) => {
    expect(judgeAttach({ localId: 'me', remoteId }, { localId: 'peer', remoteId: view })).toBe(verdict);
  });
});

describe('isBetter', () => {
  const plain = { preferred: false, rescue: false };

  it('takes anything when there is nothing, and a better path when there is something', () => {
    fc.assert(
      fc.property(fc.constantFrom(...PATH_KINDS), fc.constantFrom(...PATH_KINDS), (path, current) => {
        expect(isBetter({ path, ...plain }, undefined)).toBe(true);
        expect(isBetter({ path, ...plain }, { path: current })).toBe(
          PATH_KINDS.indexOf(path) < PATH_KINDS.indexOf(current),
        );
        expect(isBetter({ path, preferred: true, rescue: false }, { path: current })).toBe(true);
        expect(isBetter({ path, preferred: false, rescue: true }, { path: current })).toBe(true);
      }),
    );
  });
});
