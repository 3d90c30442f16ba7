import { once } from 'node:events';
import { type AddressInfo, createServer, Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readIntoMemory } from './read-memory.ts';

/** A connection whose one end is read into memory; `keeps` answers for the reader. */
async function reading(keeps: (text: string) => boolean) {
  await using stack = new AsyncDisposableStack();
  const server = stack.adopt(createServer(), (one) => new Promise((resolve) => one.close(resolve)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = stack.adopt(new Socket(), (one) => one.destroy());
  near.connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [far] = (await once(server, 'connection')) as [Socket];
  stack.defer(() => void far.destroy());
  const seen: { readonly text: string; readonly memory: ArrayBufferLike }[] = [];
  let told = Promise.withResolvers<void>();
  const works = readIntoMemory(near, (chunk) => {
    seen.push({ text: chunk.toString(), memory: chunk.buffer });
    told.resolve();
    return keeps(chunk.toString());
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

describe('reading into memory', () => {
  it('uses the same memory again until a reader keeps pieces of it', async () => {
    await using pair = await reading((text) => text === 'kept');
    expect(pair.works).toBe(true);
    for (const text of ['one', 'two', 'kept', 'four', 'five']) await pair.say(text);
    expect(pair.seen.map(({ text }) => text)).toEqual(['one', 'two', 'kept', 'four', 'five']);
    const [one, two, kept, four, five] = pair.seen.map(({ memory }) => memory);
    expect(two).toBe(one);
    expect(kept).toBe(one);
    expect(four).not.toBe(one);
    expect(five).toBe(four);
  });

  it('still tells the end, and heeds pause and resume', async () => {
    await using pair = await reading(() => false);
    await pair.say('before');
    pair.near.pause();
    pair.far.end('after');
    await once(pair.far, 'finish');
    expect(pair.seen).toHaveLength(1);
    pair.near.resume();
    await once(pair.near, 'end');
    expect(pair.seen.map(({ text }) => text)).toEqual(['before', 'after']);
  });

  it('declines what is no socket of Node.js', () => {
    expect(readIntoMemory(new Duplex() as Socket, () => false)).toBe(false);
  });
});
