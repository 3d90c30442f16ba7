import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { streamToDuplex } from './stream-duplex.ts';
import { muxedPair } from './test-muxed-pair.ts';

test('a reader that comes late gets everything, then the end', async () => {
  const [near, far] = await muxedPair();
  const duplex = streamToDuplex(far);
  const sent = randomBytes(1_500_000);
  near.send(sent);
  const closed = near.close();
  await expect.poll(() => far.readStatus).toBe('paused');
  const received: Buffer[] = [];
  for await (const chunk of duplex) received.push(chunk as Buffer);
  await closed;
  expect(Buffer.concat(received).equals(sent)).toBe(true);
});

test('what waits unread when the peer has ended is still read', async () => {
  const [near, far] = await muxedPair();
  const duplex = streamToDuplex(far);
  far.pause();
  near.send(Buffer.from('the last words'));
  await near.close();
  await expect.poll(() => far.remoteWriteStatus).toBe('closed');
  const received: Buffer[] = [];
  for await (const chunk of duplex) received.push(chunk as Buffer);
  expect(Buffer.concat(received).toString()).toBe('the last words');
});
