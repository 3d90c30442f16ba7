import { backoffDelay, type Clock, type Datagrams, type MeshError, type Timer } from '@edgemesh/core';
import { NETWORK_DEFAULTS } from '../options.ts';
import type { OpenPackets } from './types.ts';

/** Why a packet was not sent. */
export type SendOutcome = 'sent' | 'full' | 'no-channel';

/** The channel to one node: opened by the first packet, opened again after a failure, closed when nobody needs it. */
export class PeerChannel {
  readonly nodeName: string;
  lastUsed = 0;
  readonly #open: OpenPackets;
  readonly #clock: Clock;
  readonly #onClosed: (nodeName: string, error: MeshError | undefined) => void;
  #channel: Datagrams | undefined;
  #failures = 0;
  #waiting: Timer | undefined;
  #done = false;

  constructor(
    nodeName: string,
    deps: {
      readonly open: OpenPackets;
      readonly clock: Clock;
      readonly onClosed: (nodeName: string, error: MeshError | undefined) => void;
    },
  ) {
    this.nodeName = nodeName;
    this.#open = deps.open;
    this.#clock = deps.clock;
    this.#onClosed = deps.onClosed;
  }

  get isOpen(): boolean {
    return this.#channel !== undefined;
  }

  /** Copies the frame. Drops it rather than let it wait: whoever sent it knows best whether to send it again. */
  send(frame: Uint8Array): SendOutcome {
    if (this.#channel === undefined) {
      if (this.#waiting !== undefined || this.#done) return 'no-channel';
      this.#connect();
    }
    if (this.#channel === undefined) return 'no-channel';
    const channel = this.#channel;
    const taken = channel.sendCopy === undefined ? channel.send(Uint8Array.from(frame)) : channel.sendCopy(frame);
    return taken ? 'sent' : 'full';
  }

  #connect(): void {
    const channel = this.#open(this.nodeName);
    this.#channel = channel;
    const openedAt = this.#clock.now();
    channel.attach({
      // The far side answers on a channel of its own.
      message: () => undefined,
      closed: (error) => {
        if (this.#channel === channel) this.#closed(error, openedAt);
      },
    });
  }

  #closed(error: MeshError | undefined, openedAt: number): void {
    this.#channel = undefined;
    if (this.#done) return;
    const { reopenInitialMs: initialMs, reopenMaxMs: maxMs } = NETWORK_DEFAULTS;
    if (this.#clock.now() - openedAt > maxMs) this.#failures = 0;
    this.#waiting = this.#clock.after(backoffDelay(this.#failures++, { initialMs, maxMs }), () => {
      this.#waiting = undefined;
    });
    this.#onClosed(this.nodeName, error);
  }

  /** Closes the channel; the next packet opens another. */
  idle(): void {
    const channel = this.#channel;
    this.#channel = undefined;
    channel?.close();
  }

  close(): void {
    this.#done = true;
    this.#waiting?.cancel();
    this.idle();
  }
}
