import { MeshError } from '@edgemesh/core';
import {
  createDatagramPair,
  createStreamPair,
  describeByteStream,
  describeDatagrams,
} from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { createDeferredDatagrams, createDeferredStream } from './deferred-stream.ts';

describeByteStream('a deferred stream, bound before it is used', () => {
  const pair = createStreamPair();
  const a = createDeferredStream();
  a.bind(pair.a);
  return { a, b: pair.b };
});

describeByteStream('a deferred stream, bound after it is used', () => {
  const pair = createStreamPair();
  const a = createDeferredStream();
  setTimeout(() => a.bind(pair.a), 5);
  return { a, b: pair.b };
});

describeDatagrams('a deferred channel, bound after it is used', () => {
  const pair = createDatagramPair();
  const a = createDeferredDatagrams();
  setImmediate(() => a.bind(pair.a));
  return { a, b: pair.b };
});

describe('a deferred stream', () => {
  it('ends with the reason why nothing came of it, whether attached before or after', async () => {
    const error = new MeshError('unknown-node', 'nobody knows it');
    for (const early of [true, false]) {
      const stream = createDeferredStream();
      const closed = Promise.withResolvers<MeshError | undefined>();
      const sink = { data: () => undefined, ended: () => undefined, drained: () => undefined, closed: closed.resolve };
      if (early) stream.attach(sink);
      stream.fail(error);
      if (!early) stream.attach(sink);
      expect(await closed.promise).toBe(error);
    }
  });

  it('holds back a writer before it is bound', () => {
    const stream = createDeferredStream();
    expect(stream.write(new Uint8Array(1_000))).toBe(true);
    expect(stream.write(new Uint8Array(100_000))).toBe(false);
  });

  it('resets the stream that comes too late', async () => {
    const pair = createStreamPair();
    const closed = new Promise<MeshError | undefined>((resolve) =>
      pair.b.attach({ data: () => undefined, ended: () => undefined, drained: () => undefined, closed: resolve }),
    );
    const stream = createDeferredStream();
    stream.reset();
    stream.bind(pair.a);
    expect(await closed).toBeInstanceOf(MeshError);
  });
});
