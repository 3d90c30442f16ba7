import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createLineSplitter } from './lines.ts';

function split(chunks: readonly Buffer[], maxBytes = 1 << 20): string[] {
  const lines: string[] = [];
  const push = createLineSplitter(maxBytes, (line) => lines.push(line));
  for (const chunk of chunks) push(chunk);
  return lines;
}

it('finds the same lines however the bytes are cut, in the middle of a character too', () => {
  const line = fc
    .string({ unit: 'binary' })
    .filter((text) => text !== '' && !text.includes('\n') && text.isWellFormed());
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.nat(), { maxLength: 10 }), (lines, cuts) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
      const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
      const chunks = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
      expect(split(chunks)).toEqual(lines);
    }),
  );
});

it('skips empty lines and holds back what has no end yet', () => {
  expect(split([Buffer.from('\n\na\n\nb')])).toEqual(['a']);
});

it('refuses a line over the limit, whole or in pieces', () => {
  const error = expect.objectContaining({ code: 'api-too-large' });
  expect(() => split([Buffer.from('12345\n')], 4)).toThrow(error);
  expect(() => split([Buffer.from('123'), Buffer.from('45')], 4)).toThrow(error);
  expect(split([Buffer.from('1234\n1234\n')], 4)).toEqual(['1234', '1234']);
});
