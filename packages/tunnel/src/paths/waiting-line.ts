import { type ByteStream, type Datagrams, type DialOptions, MeshError } from '@edgemesh/core';
import type { Session } from '../types.ts';
import {
  createDeferredDatagrams,
  createDeferredStream,
  type DeferredDatagrams,
  type DeferredStream,
} from './deferred-stream.ts';

/** Where a stream or channel shall lead on the peer's side. */
export interface ChannelTarget {
  readonly address: string;
  readonly port: number;
  readonly kind?: 'udp' | 'packets';
}

interface Waiting {
  readonly end: DeferredStream | DeferredDatagrams;
  bind(session: Session): void;
}

/** Streams and channels that were dialled before it is known where their node is. */
export class WaitingLine {
  #waiting: Waiting[] = [];
  readonly #nodeName: string;
  readonly #limit: number;

  /** @param limit more are refused at once */
  constructor(nodeName: string, limit: number) {
    this.#nodeName = nodeName;
    this.#limit = limit;
  }

  get length(): number {
    return this.#waiting.length;
  }

  dial(target: ChannelTarget, options: DialOptions | undefined): ByteStream {
    const stream = createDeferredStream();
    this.#add({ end: stream, bind: (session) => stream.bind(session.dial(target, options)) });
    return stream;
  }

  openDatagrams(target: ChannelTarget, options: DialOptions | undefined): Datagrams {
    const channel = createDeferredDatagrams();
    const bind = (session: Session) => channel.bind(session.openDatagrams(target, options));
    this.#add({ end: channel, bind });
    return channel;
  }

  #add(waiting: Waiting): void {
    if (this.#waiting.length < this.#limit) this.#waiting.push(waiting);
    else
      waiting.end.fail(new MeshError('limit', `too many streams wait for node ${this.#nodeName}`, { retryable: true }));
  }

  /** The node was found: everything that waits goes on. */
  bindAll(session: Session): void {
    for (const waiting of this.#waiting.splice(0)) waiting.bind(session);
  }

  failAll(error: MeshError): void {
    for (const waiting of this.#waiting.splice(0)) waiting.end.fail(error);
  }
}
