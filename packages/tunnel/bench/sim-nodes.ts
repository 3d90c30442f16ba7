/** Two session tables over simulated carriers and a clock that stands still; nothing here is real but the protocol. */
import { setImmediate as turn } from 'node:timers/promises';
import type { ByteStream, Datagrams } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import { createDatagramPair, createStreamPair } from '@edgemesh/testkit/conformance';
import type { SessionOptions } from '../src/options.ts';
import { createSessionTable, type SessionEvent, type SessionTable } from '../src/session/index.ts';
import type { InboundHandler, PathKind } from '../src/types.ts';
import { type SimLink, type SimSpeed, simPair } from './sim-link.ts';

export interface SimNode {
  readonly table: SessionTable;
  /** Far ends of the streams and channels that the other node has opened here. */
  readonly streams: ByteStream[];
  readonly channels: Datagrams[];
  readonly events: SessionEvent[];
}

export function simNodes(options: Partial<SessionOptions> = {}, inbound: Partial<InboundHandler> = {}) {
  const clock = createFakeClock();
  const links: [SimLink, SimLink][] = [];
  const make = (peerId: 'a' | 'b'): SimNode => {
    const node = { streams: [] as ByteStream[], channels: [] as Datagrams[], events: [] as SessionEvent[] };
    const table = createSessionTable({
      identity: { peerId },
      nodeName: `node-${peerId}`,
      inbound: {
        openStream: () => {
          const pair = createStreamPair();
          node.streams.push(pair.b);
          return pair.a;
        },
        openDatagrams: () => {
          const pair = createDatagramPair();
          node.channels.push(pair.b);
          return pair.a;
        },
        ...inbound,
      },
      options,
      clock,
      onEvent: (event) => void node.events.push(event),
    });
    return { table, ...node };
  };
  const a = make('a');
  const b = make('b');
  return {
    a,
    b,
    clock,
    links,
    /** A fresh node with the peer id of `b`: what a restart leaves. */
    remake: () => make('b'),
    /** A carrier between the two, known to both. */
    connect(
      path: PathKind = 'direct',
      at: SimNode = b,
      dialledBy: 'a' | 'b' = 'a',
      speed: SimSpeed = {},
    ): [SimLink, SimLink] {
      const pair = simPair('a', 'b', path, dialledBy, speed);
      links.push(pair);
      a.table.attach(pair[0]);
      at.table.attach(pair[1]);
      return pair;
    },
    /** Lets everything happen that does not need time to pass. */
    async settle(): Promise<void> {
      for (let quiet = 0; quiet < 4; ) {
        await turn();
        const ready = links.flat().filter((end) => end.isReady);
        for (const end of ready) end.step(65_536);
        quiet = ready.length === 0 ? quiet + 1 : 0;
      }
    },
    /** Time passes in small steps, and carriers deliver meanwhile. */
    async pass(ms: number, stepMs = 100): Promise<void> {
      for (let left = ms; left > 0; left -= stepMs) {
        clock.advance(Math.min(left, stepMs));
        await this.settle();
      }
    },
    async dispose(): Promise<void> {
      await a.table[Symbol.asyncDispose]();
      await b.table[Symbol.asyncDispose]();
    },
  };
}
