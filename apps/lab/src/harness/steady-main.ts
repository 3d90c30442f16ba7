// Long-lived echo connections whose every byte is checked, and short ones beside them. Says how it stands in JSON lines.
// Usage: node steady-main.ts '{"host":"10.96.0.11","port":7,"connections":4,"bytesPerSecond":200000,"shortPerSecond":0}'
// SIGTERM: every connection is half-closed and must bring back all that it was sent.
import { createCipheriv } from 'node:crypto';
import { connect, type Socket } from 'node:net';

import type { SteadyError } from './steady.ts';

interface Plan {
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string;
  readonly connections: number;
  /** Of each connection. */
  readonly bytesPerSecond: number;
  readonly shortPerSecond?: number;
  /** A short connection without its answer after this long has failed, in milliseconds. */
  readonly shortTimeoutMs?: number;
}
const plan = JSON.parse(process.argv[2] as string) as Plan;
const where = { host: plan.host, port: plan.port, ...(plan.localAddress && { localAddress: plan.localAddress }) };
const TICK_MS = 20;
/** Bytes that may be under way before a connection pauses sending. */
const MAX_UNDERWAY = 4 << 20;
const errors: SteadyError[] = [];
const began = Date.now();
let shortDone = 0;

/** Bytes that differ everywhere and on every connection: a key stream. */
function material(seed: number) {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed + 1), Buffer.alloc(16));
  return (length: number): Buffer => cipher.update(Buffer.alloc(length));
}

class Steady {
  readonly #socket: Socket;
  readonly #out: (length: number) => Buffer;
  readonly #expected: (length: number) => Buffer;
  readonly #since = Date.now();
  #greeted = false;
  #heardAt = Date.now();
  sent = 0;
  back = 0;
  corrupted = 0;
  maxStallMs = 0;
  state: 'open' | 'done' | 'lost' = 'open';

  constructor(seed: number) {
    this.#out = material(seed);
    this.#expected = material(seed);
    this.#socket = connect({ ...where, noDelay: true, allowHalfOpen: true });
    this.#socket.on('data', (chunk) => this.#take(chunk));
    this.#socket.on('error', (error) => this.#lose(error.message));
    this.#socket.on('end', () => {
      this.state = this.state === 'open' && this.back === this.sent ? 'done' : this.state;
      if (this.state === 'open') this.#lose(`ended after ${this.back} of ${this.sent} bytes`);
    });
  }

  #lose(error: string): void {
    if (this.state !== 'open') return;
    this.state = 'lost';
    errors.push({ since: this.#since, at: Date.now(), kind: 'long', error });
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    let bytes = chunk;
    if (!this.#greeted) {
      const end = bytes.indexOf(10);
      if (end < 0) return;
      this.#greeted = true;
      bytes = bytes.subarray(end + 1);
    }
    this.maxStallMs = Math.max(this.maxStallMs, Date.now() - this.#heardAt);
    this.#heardAt = Date.now();
    if (!bytes.equals(this.#expected(bytes.length))) this.corrupted++;
    this.back += bytes.length;
  }

  tick(): void {
    if (this.state !== 'open' || this.sent - this.back > MAX_UNDERWAY) return;
    const bytes = this.#out(Math.round((plan.bytesPerSecond * TICK_MS) / 1000));
    this.sent += bytes.length;
    this.#socket.write(bytes);
  }

  finish(): void {
    if (this.state === 'open') this.#socket.end();
  }
}

function short(): void {
  const since = Date.now();
  const socket = connect({ ...where, noDelay: true });
  const fail = (error: string) => {
    clearTimeout(timer);
    socket.destroy();
    errors.push({ since, at: Date.now(), kind: 'short', error });
  };
  const timer = setTimeout(() => fail('no answer in time'), plan.shortTimeoutMs ?? 5_000);
  socket.once('error', (error) => fail(error.message));
  socket.once('data', () => {
    clearTimeout(timer);
    shortDone++;
    socket.destroy();
  });
  socket.once('end', () => fail('ended without an answer'));
}

const all = Array.from({ length: plan.connections }, (_, i) => new Steady(i));
function report(): void {
  const sum = (of: (one: Steady) => number) => all.reduce((total, one) => total + of(one), 0);
  console.log(
    JSON.stringify({
      at: Date.now() - began,
      open: all.filter((one) => one.state === 'open').length,
      done: all.filter((one) => one.state === 'done').length,
      sent: sum((one) => one.sent),
      back: sum((one) => one.back),
      corrupted: sum((one) => one.corrupted),
      maxStallMs: Math.max(0, ...all.map((one) => one.maxStallMs)),
      shortDone,
      errors: errors.splice(0),
    }),
  );
  for (const one of all) one.maxStallMs = 0;
}
const ticks = setInterval(() => {
  for (const one of all) one.tick();
}, TICK_MS);
const reports = setInterval(report, 200);
/** Timers are too coarse for some rates, and a busy machine calls them late: each tick starts what is due. */
let shortsBegun = 0;
const beginShorts = () => {
  const due = ((Date.now() - began) * (plan.shortPerSecond ?? 0)) / 1_000;
  for (; shortsBegun < due; shortsBegun++) short();
};
const shorts = setInterval(beginShorts, 10);

process.on('SIGTERM', () => {
  clearInterval(ticks);
  clearInterval(shorts);
  for (const one of all) one.finish();
  const deadline = Date.now() + 20_000;
  setInterval(() => {
    if (all.some((one) => one.state === 'open') && Date.now() < deadline) return;
    clearInterval(reports);
    report();
    process.exit(0);
  }, 50);
});
