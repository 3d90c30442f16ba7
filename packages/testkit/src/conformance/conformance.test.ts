import { splice, spliceDatagrams } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { describeBalancer } from './balancer.ts';
import { describeByteStream } from './byte-stream.ts';
import { createDatagramPair } from './datagram-pair.ts';
import { describeDatagrams } from './datagrams.ts';
import { recordStream } from './recorders.ts';
import { createStreamPair } from './stream-pair.ts';

describeByteStream('an in-memory pair', () => {
  const pair = createStreamPair();
  return { ...pair, leftovers: () => pair.pendingBytes };
});

describeByteStream('an in-memory pair with a window of one byte', () => createStreamPair({ windowBytes: 1 }), {
  bigBytes: 1 << 18,
});

describeByteStream('two in-memory pairs spliced together', () => {
  const left = createStreamPair({ windowBytes: 10_000 });
  const right = createStreamPair({ windowBytes: 70_000 });
  let open = 1;
  splice(left.b, right.a, () => open--);
  return { a: left.a, b: right.b, leftovers: () => open };
});

describeDatagrams('an in-memory pair', () => createDatagramPair());

describeDatagrams('two in-memory pairs spliced together', () => {
  const left = createDatagramPair();
  const right = createDatagramPair();
  let open = 1;
  spliceDatagrams(left.b, right.a, () => open--);
  return { a: left.a, b: right.b, leftovers: () => open };
});

describeBalancer('the first that is left', () => ({
  pick: (candidates, _flow, exclude) =>
    candidates.find((e) => !exclude?.has(`${e.nodeName ?? ''}|${e.address}|${e.port}|${e.protocol}`)),
}));

describe('createStreamPair', () => {
  it('announces opened when told to, where it does not do so by itself', async () => {
    const pair = createStreamPair({ opensByItself: false });
    const a = recordStream(pair.a);
    const b = recordStream(pair.b);
    await b.until(() => b.events.includes('opened'), 'opened at b');
    expect(a.events).toEqual([]);
    pair.open();
    await a.until(() => a.events.includes('opened'), 'opened at a');
  });
});
