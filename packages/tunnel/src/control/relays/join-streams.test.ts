import { randomBytes } from 'node:crypto';
import { systemClock } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import type { Stream } from '@libp2p/interface';
import { expect, test } from 'vitest';
import { muxedPair } from '../test-muxed-pair.ts';
import { joinStreams, type StreamFlow } from './join-streams.ts';

/** Two ends with the joined streams between them. */
async function circuit(clock = systemClock, idleMs = 60_000) {
  const [[near, relayNear], [far, relayFar]] = await Promise.all([muxedPair(), muxedPair()]);
  let flows: readonly [StreamFlow, StreamFlow] | undefined;
  const ended = new Promise<void>((resolve) => {
    const start = (started: readonly [StreamFlow, StreamFlow]) => {
      flows = started;
    };
    joinStreams(relayNear, relayFar, { place: { start, end: resolve }, idleMs, clock });
  });
  return { near, far, ended, flows: flows as unknown as readonly [StreamFlow, StreamFlow] };
}

function collect(stream: Stream): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  stream.addEventListener('message', ({ data }) => chunks.push(data.subarray()));
  return new Promise((resolve) => stream.addEventListener('end', () => resolve(Buffer.concat(chunks))));
}

test('bytes of both directions arrive, also after the other direction has ended', async () => {
  const { near, far, ended, flows } = await circuit();
  const [up, down] = [randomBytes(700_000), randomBytes(500_000)];
  const received = collect(far);
  near.send(up);
  await near.close();
  expect((await received).equals(up)).toBe(true);
  const back = collect(near);
  far.send(down);
  await far.close();
  expect((await back).equals(down)).toBe(true);
  await ended;
  expect(flows.map((flow) => flow.bytes())).toEqual([up.length, down.length]);
});

test('reads no more than the windows while the far side does not read, and loses nothing', async () => {
  const { near, far, flows } = await circuit();
  far.pause();
  const sent = randomBytes(8_000_000);
  near.send(sent);
  const closed = near.close();
  let before = -1;
  const isStill = () => {
    const last = before;
    before = flows[0].bytes();
    return before === last;
  };
  await expect.poll(isStill, { interval: 100 }).toBe(true);
  expect(before).toBeLessThan(2_000_000);
  const received = collect(far);
  far.resume();
  await closed;
  expect((await received).equals(sent)).toBe(true);
});

test('passes on nothing while it is held, and the rest later, with its end', async () => {
  const { near, far, flows } = await circuit();
  flows[0].hold(true);
  flows[0].hold(true);
  const received = collect(far);
  near.send(Buffer.from('all of it'));
  await near.close();
  flows[0].hold(false);
  expect(flows[0].bytes()).toBe(0);
  flows[0].hold(false);
  expect((await received).toString()).toBe('all of it');
});

test('what is cut short on one side is no clean end on the other', async () => {
  const { near, far, ended } = await circuit();
  const closed = new Promise<Error | undefined>((resolve) =>
    far.addEventListener('close', ({ error }) => resolve(error)),
  );
  near.send(Buffer.from('half a mess'));
  near.abort(new Error('pulled the plug'));
  expect(await closed).toBeInstanceOf(Error);
  await ended;
});

test('a circuit without a byte for too long is cut, one that lives is not', async () => {
  const clock = createFakeClock();
  const { near, far, ended, flows } = await circuit(clock, 1_000);
  for (let i = 1; i <= 3; i++) {
    near.send(Uint8Array.of(i));
    await expect.poll(() => flows[0].bytes()).toBe(i);
    clock.advance(1_000);
  }
  expect(far.status).toBe('open');
  clock.advance(2_000);
  await ended;
});
