import fc from 'fast-check';
import { expect, test } from 'vitest';
// @ts-expect-error no types; the independent implementation that @libp2p/pnet uses
import reference from 'xsalsa20';
import { createXSalsa20 } from './xsalsa20.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

test('the cipher agrees with an independent implementation however the stream is cut', () => {
  fc.assert(
    fc.property(
      bytes(24),
      bytes(32),
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }),
      (nonce, key, chunks) => {
        const ours = createXSalsa20(nonce, key);
        const theirs = reference(nonce, key);
        for (const chunk of chunks) expect(Buffer.from(ours.update(chunk))).toEqual(Buffer.from(theirs.update(chunk)));
        theirs.finalize();
      },
    ),
  );
});

test('decrypting what was encrypted gives the text back', () => {
  const nonce = new Uint8Array(24).fill(7);
  const key = new Uint8Array(32).fill(9);
  const text = new TextEncoder().encode('node record '.repeat(500));
  expect(createXSalsa20(nonce, key).update(createXSalsa20(nonce, key).update(text))).toEqual(text);
});
