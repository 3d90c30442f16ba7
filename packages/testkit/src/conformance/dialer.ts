import type { Dialer, DialTarget } from '@edgemesh/core';
import { MeshError } from '@edgemesh/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordDatagrams, recordStream } from './recorders.ts';

/** A dialer and places to dial. */
export interface DialerSetup {
  readonly dialer: Dialer;
  /** A TCP server that sends back what it gets, and ends when its client ends. */
  readonly echo: DialTarget;
  /** Nobody listens here. */
  readonly refused: DialTarget;
  /** Never answers (a listener with a full backlog, a black hole). Absent: that test is skipped. */
  readonly silent?: DialTarget;
  /** A UDP server that sends back what it gets. */
  readonly udpEcho: DialTarget;
  dispose?(): Promise<void> | void;
  /** Streams, sockets and flows still held once everything has closed; must be 0. */
  leftovers?(): number;
}

/** The contract of {@link Dialer}, held against any implementation. The factory is called once per test. */
export function describeDialer(name: string, factory: () => Promise<DialerSetup> | DialerSetup): void {
  describe(`${name} as a Dialer`, () => {
    let setup: DialerSetup;
    beforeEach(async () => {
      setup = await factory();
    });
    afterEach(async () => {
      const leftovers = () => setup.leftovers?.() ?? 0;
      for (let i = 0; i < 200 && leftovers() > 0; i++) await new Promise((resolve) => setImmediate(resolve));
      expect(leftovers()).toBe(0);
      await setup.dispose?.();
    });

    it('opens a stream that reaches the target, and closes it in order', async () => {
      const stream = recordStream(setup.dialer.dial(setup.echo));
      await stream.until(() => stream.events.includes('opened'), 'opened');
      stream.write('hello');
      stream.end();
      await stream.untilClosed();
      expect(stream.text()).toBe('hello');
      expect(stream.error).toBeUndefined();
      expect(stream.events[0]).toBe('opened');
      expect(stream.violations).toEqual([]);
    });

    it('takes bytes and the end before it has opened', async () => {
      const stream = recordStream(setup.dialer.dial(setup.echo));
      stream.write('ear');
      stream.write('ly');
      stream.end();
      expect(stream.events).toEqual([]);
      await stream.untilClosed();
      expect(stream.text()).toBe('early');
      expect(stream.violations).toEqual([]);
    });

    it('fails through closed, never by throwing, when nobody listens; another endpoint may be tried', async () => {
      const stream = recordStream(setup.dialer.dial(setup.refused));
      stream.write('unheard');
      await stream.untilClosed();
      expect(stream.error).toBeInstanceOf(MeshError);
      expect(stream.error?.code).toBe('refused');
      expect(stream.error?.retryable).toBe(true);
      expect(stream.events).not.toContain('opened');
      expect(stream.violations).toEqual([]);
    });

    it('gives up after timeoutMs; another endpoint may be tried', async ({ skip }) => {
      if (setup.silent === undefined) return skip();
      const stream = recordStream(setup.dialer.dial(setup.silent, { timeoutMs: 50 }));
      await stream.untilClosed();
      expect(stream.error?.code).toBe('timeout');
      expect(stream.error?.retryable).toBe(true);
      expect(stream.events).toEqual(['closed']);
    });

    it('can be aborted before it has opened', async () => {
      const stream = recordStream(setup.dialer.dial(setup.echo));
      stream.reset();
      await stream.untilClosed();
      expect(stream.error?.code).toBe('aborted');
      expect(stream.violations).toEqual([]);
    });

    it('keeps concurrent streams apart', async () => {
      const streams = Array.from({ length: 50 }, () => recordStream(setup.dialer.dial(setup.echo)));
      for (const [i, stream] of streams.entries()) {
        stream.write(`stream ${i} `.repeat(100));
        stream.end();
      }
      await Promise.all(streams.map((stream) => stream.untilClosed()));
      expect(streams.map((stream) => stream.text())).toEqual(streams.map((_, i) => `stream ${i} `.repeat(100)));
    });

    it('opens a datagram channel that reaches the target and back', async () => {
      const channel = recordDatagrams(setup.dialer.openDatagrams(setup.udpEcho));
      for (const [i, size] of [1, 1_473, 65_507].entries()) {
        channel.send(new Uint8Array(size).fill(i));
        await channel.until(() => channel.messages.length === i + 1, `answer ${i}`);
        expect(channel.messages[i]?.length).toBe(size);
      }
      channel.close();
      await channel.untilClosed();
      expect(channel.error).toBeUndefined();
      expect(channel.violations).toEqual([]);
    });

    it('keeps concurrent datagram channels apart', async () => {
      const channels = Array.from({ length: 20 }, () => recordDatagrams(setup.dialer.openDatagrams(setup.udpEcho)));
      for (const [i, channel] of channels.entries()) channel.send(`channel ${i}`);
      await Promise.all(channels.map((channel) => channel.until(() => channel.messages.length === 1, 'an answer')));
      expect(channels.map((c) => Buffer.from(c.messages[0] as Uint8Array).toString())).toEqual(
        channels.map((_, i) => `channel ${i}`),
      );
      for (const channel of channels) channel.close();
      await Promise.all(channels.map((channel) => channel.untilClosed()));
    });
  });
}
