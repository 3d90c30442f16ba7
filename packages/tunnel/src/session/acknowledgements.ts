import type { Clock, Timer } from '@edgemesh/core';

/** Received bytes after which an acknowledgement goes out at once. */
const ACK_BYTES = 131_072;
/** Longest that received bytes stay unacknowledged, in milliseconds; an idle session sends nothing. */
const ACK_DELAY_MS = 20;

/** When a session tells its peer how much has arrived. */
export class Acknowledgements {
  private readonly clock: Clock;
  private readonly due: () => void;
  private bytes = 0;
  private timer: Timer | undefined;
  private isOwed = false;

  /** @param due - called when an acknowledgement is to be sent, which {@link take} then tells */
  constructor(clock: Clock, due: () => void) {
    this.clock = clock;
    this.due = due;
  }

  /** Numbered bytes have arrived. */
  count(bytes: number): void {
    this.bytes += bytes;
  }

  /** All that has been read is counted. */
  look(): void {
    if (this.bytes === 0) return;
    if (this.bytes >= ACK_BYTES) this.owe();
    else this.timer ??= this.clock.after(ACK_DELAY_MS, () => this.owe());
  }

  /** True when one goes with this batch. */
  take(): boolean {
    const { isOwed } = this;
    this.isOwed = false;
    return isOwed;
  }

  /** Nothing is owed to a peer that has restarted. */
  reset(): void {
    this.bytes = 0;
    this.isOwed = false;
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  private owe(): void {
    this.stop();
    this.bytes = 0;
    this.isOwed = true;
    this.due();
  }
}
