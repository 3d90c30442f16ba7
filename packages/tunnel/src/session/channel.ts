import type { WindowBudget } from './receive-window.ts';
import type { Sendable } from './scheduler.ts';

/** A stream whose writer was told to wait. */
export interface HeldBack extends Sendable {
  afterPump(): void;
}

/** What a stream or datagram channel needs of the session that carries it. */
export interface ChannelHost {
  readonly windowBudget: WindowBudget;
  now(): number;
  rttMs(): number | undefined;
  /** Has something to send; `bytes` of data were added. */
  ready(item: Sendable, bytes: number): void;
  /**
   * Puts data into the next batch right away, which spares a copy and a turn in the queue; false when others wait or the path is
   * full: then it has to queue.
   */
  addNow(id: number, bytes: Uint8Array): boolean;
  /**
   * The same for the end of a stream. `isLast`: the peer has ended too, and waits for nothing any more.
   */
  endNow(id: number, isLast: boolean): boolean;
  /** True when {@link addNow} would take another read of a socket. */
  hasRoomForMore(): boolean;
  /** Calls the channel back as soon as there is, or when it is its turn among others. */
  awaitRoom(channel: HeldBack): void;
  /** Sends RESET for a channel that is forgotten already. */
  sendReset(id: number, payload: Uint8Array): void;
  /** Calls the channel back once the current batch is out. */
  afterPump(channel: { afterPump(): void }): void;
  /** Payload bytes left or arrived, for the statistics. */
  sent(bytes: number): void;
  received(bytes: number): void;
  /** Unread bytes were added or taken away; false when the session holds too many. */
  buffered(bytes: number): boolean;
  /** A datagram was dropped because a queue is full. */
  dropped(): void;
  /** The channel is closed on this side. */
  forget(id: number): void;
}
