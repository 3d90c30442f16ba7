import { expect, test } from 'vitest';
import { Turnstile } from './turnstile.ts';

const never = new AbortController().signal;

test('only so many run at once, the rest in order, and keys do not hinder each other', async () => {
  const turnstile = new Turnstile(2, 10);
  let running = 0;
  let most = 0;
  const order: number[] = [];
  const work = (id: number) => async () => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    order.push(id);
    running--;
  };
  await Promise.all([1, 2, 3, 4, 5].map((id) => turnstile.run('a', never, work(id))));
  expect(most).toBe(2);
  expect(order).toEqual([1, 2, 3, 4, 5]);
  let other = false;
  const blocked = new Turnstile(1, 1);
  void blocked.run('a', never, () => new Promise(() => undefined));
  await blocked.run('b', never, async () => {
    other = true;
  });
  expect(other).toBe(true);
});

test('a line that is too long refuses, and a waiter that gives up frees its place', async () => {
  const turnstile = new Turnstile(1, 1);
  let finish = () => undefined as undefined;
  const first = turnstile.run('a', never, () => new Promise<void>((resolve) => (finish = () => void resolve())));
  const giving = new AbortController();
  const second = turnstile.run('a', giving.signal, () => Promise.resolve());
  await expect(turnstile.run('a', never, () => Promise.resolve())).rejects.toMatchObject({ code: 'limit' });
  giving.abort();
  await expect(second).rejects.toMatchObject({ code: 'closed' });
  const third = turnstile.run('a', never, () => Promise.resolve('third'));
  finish();
  await first;
  expect(await third).toBe('third');
});

test('failed work gives its place to the next', async () => {
  const turnstile = new Turnstile(1, 5);
  const failing = turnstile.run('a', never, () => Promise.reject(new Error('no')));
  const next = turnstile.run('a', never, () => Promise.resolve('next'));
  await expect(failing).rejects.toThrow('no');
  expect(await next).toBe('next');
});
