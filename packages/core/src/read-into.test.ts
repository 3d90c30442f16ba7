import { once } from 'node:events';
import { type AddressInfo, createServer, Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readInto } from './read-into.ts';

/** A connection whose one end, the accepted one or the other, is read into memory. */
async function reading(end: 'accepted' | 'dialled') {
  await using stack = new AsyncDisposableStack();
  const server = stack.adopt(createServer(), (one) => new Promise<void>((resolve) => one.close(() => resolve())));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const dialled = stack.adopt(new Socket(), (one) => void one.destroy());
  dialled.connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [accepted] = (await once(server, 'connection')) as [Socket];
  stack.defer(() => void accepted.destroy());
  const [near, far] = end === 'accepted' ? [accepted, dialled] : [dialled, accepted];
  const memory = Buffer.alloc(16);
  const seen: string[] = [];
  let told = Promise.withResolvers<void>();
  const works = readInto(near, memory, (length) => {
    seen.push(memory.toString('utf8', 0, length));
    told.resolve();
  });
  near.resume();
  const parts = stack.move();
  return {
    works,
    near,
    far,
    seen,
    async say(text: string): Promise<void> {
      told = Promise.withResolvers();
      far.write(text);
      await told.promise;
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

describe.each(['accepted', 'dialled'] as const)('reading an %s socket into memory', (end) => {
  it('works with this Node.js, and brings everything in order', async () => {
    await using pair = await reading(end);
    expect(pair.works).toBe(true);
    for (const text of ['one', 'two', 'three']) await pair.say(text);
    expect(pair.seen).toEqual(['one', 'two', 'three']);
    pair.far.end('more than the memory holds at one time');
    await once(pair.near, 'end');
    expect(pair.seen.slice(3).join('')).toBe('more than the memory holds at one time');
    expect(pair.seen.every((text) => text.length <= 16)).toBe(true);
  });

  it('still tells the end, and heeds pause and resume', async () => {
    await using pair = await reading(end);
    await pair.say('before');
    pair.near.pause();
    pair.far.end('after');
    await once(pair.far, 'finish');
    expect(pair.seen).toEqual(['before']);
    pair.near.resume();
    await once(pair.near, 'end');
    expect(pair.seen).toEqual(['before', 'after']);
  });
});

describe('reading into memory', () => {
  it('declines what is no socket of Node.js', () => {
    expect(readInto(new Duplex() as Socket, Buffer.alloc(16), () => undefined)).toBe(false);
  });

  it('declines a socket with bytes waiting, and one that is read so already', async () => {
    await using pair = await reading('dialled');
    expect(readInto(pair.near, Buffer.alloc(16), () => undefined)).toBe(false);
    pair.near.write('early');
    await once(pair.far, 'readable');
    expect(readInto(pair.far, Buffer.alloc(16), () => undefined)).toBe(false);
  });
});
