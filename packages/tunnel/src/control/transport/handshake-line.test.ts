import { expect, test } from 'vitest';
import { HandshakeLine } from './handshake-line.ts';

test('as many as allowed run, others follow in order as places become free', () => {
  const line = new HandshakeLine(2);
  const begun: number[] = [];
  const leave = [0, 1, 2, 3].map((i) => line.enter(() => begun.push(i)));
  expect(begun).toEqual([0, 1]);
  expect(line.waiting).toBe(2);
  leave[1]?.();
  expect(begun).toEqual([0, 1, 2]);
  leave[0]?.();
  leave[2]?.();
  leave[3]?.();
  const late: number[] = [];
  for (const i of [4, 5, 6]) line.enter(() => late.push(i));
  expect(late).toEqual([4, 5]);
});

test("who gives up while waiting is never called and takes nobody's place", () => {
  const line = new HandshakeLine(1);
  const begun: string[] = [];
  const first = line.enter(() => begun.push('first'));
  const second = line.enter(() => begun.push('second'));
  line.enter(() => begun.push('third'));
  second();
  expect(begun).toEqual(['first']);
  first();
  expect(begun).toEqual(['first', 'third']);
});
