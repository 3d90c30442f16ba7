/** Bytes in flight allowed before anything is known of a path: ten 128 KiB batches would be felt on a slow one. */
const INITIAL_BYTES = 524_288;
/** Never less: two batches keep TLS and both event loops busy on any path. */
const MIN_BYTES = 196_608;
/** What is in flight may exceed what the path holds by this factor; it is also how fast the limit grows per round trip. */
const GAIN = 1.5;
/**
 * Both event loops sleep and wake, and share their cores with what they serve: a path is longer than its fastest round trip
 * shows, in milliseconds. With 1 ms, two agents on a busy machine waited for each other half of the time; ten milliseconds
 * of a 50 Mbit/s link are 62 KB of queue.
 */
const JITTER_MS = 10;
/** Rates are remembered for one to two of these periods, in milliseconds; round trips are measured anew after ten seconds. */
const RATE_PERIOD_MS = 2_000;
const RTT_PERIOD_MS = 10_000;

/**
 * How many bytes a session may have in flight on its carrier: one and a half times what the path holds (delivery rate times smallest round
 * trip, measured from acknowledgements as BBR does). More would only wait in the kernel's send buffer, which grows to
 * megabytes: seconds on a slow link, and nothing could overtake them. TCP below does the congestion control.
 */
export class FlightLimit {
  limitBytes = INITIAL_BYTES;
  private readonly sent: { end: number; at: number; delivered: number; deliveredAt: number }[] = [];
  private head = 0;
  private lastEnd = 0;
  private delivered = 0;
  private deliveredAt = 0;
  private rates = { current: 0, previous: 0, since: 0 };
  private rtt = { least: Number.POSITIVE_INFINITY, since: 0 };
  private limited = false;
  /** Session offset from which on a batch measures the empty path; undefined: not measuring. */
  private probeFrom: number | undefined;

  /** Begins anew on another carrier, from session offset `offset` on. */
  restart(offset: number, now: number): void {
    this.limitBytes = INITIAL_BYTES;
    this.sent.length = 0;
    this.head = 0;
    this.lastEnd = offset;
    this.delivered = offset;
    this.deliveredAt = now;
    this.rates = { current: 0, previous: 0, since: now };
    this.rtt = { least: Number.POSITIVE_INFINITY, since: now };
    this.probeFrom = undefined;
  }

  /** True when `inFlight` leaves no room; remembers that it was the limit that held the sender back. */
  isFull(inFlight: number): boolean {
    const full = inFlight >= (this.probeFrom === undefined ? this.limitBytes : MIN_BYTES);
    if (full) this.limited = true;
    return full;
  }

  /** A batch that ends at session offset `end` has been written; `inFlight` bytes were on their way before. */
  onSent(end: number, inFlight: number, now: number): void {
    // After a pause the clock starts with the batch, not with the last acknowledgement.
    if (inFlight === 0) this.deliveredAt = now;
    this.lastEnd = end;
    this.sent.push({ end, at: now, delivered: this.delivered, deliveredAt: this.deliveredAt });
  }

  /** The peer has everything below `offset`. */
  onAcknowledged(offset: number, now: number): void {
    let last: (typeof this.sent)[number] | undefined;
    while (this.head < this.sent.length && (this.sent[this.head] as { end: number }).end <= offset)
      last = this.sent[this.head++];
    if (this.head > 64) {
      this.sent.splice(0, this.head);
      this.head = 0;
    }
    if (offset > this.delivered) {
      this.delivered = offset;
      this.deliveredAt = now;
    }
    if (last === undefined) return;
    const rtt = Math.max(now - last.at, 0.05);
    // The batch that measures the empty path is one that was sent while it was being emptied.
    this.probe(last.end, rtt, now);
    const elapsed = Math.max(now - last.deliveredAt, now - last.at, 0.05);
    this.update((offset - last.delivered) / elapsed, rtt, now);
  }

  private update(rate: number, rtt: number, now: number): void {
    const { rates } = this;
    rates.current = Math.max(rates.current, rate);
    this.rtt.least = Math.min(this.rtt.least, rtt);
    // A sender with little to say measures no rate: only a time in which the limit was felt replaces an older one.
    if (this.limited && now - rates.since >= RATE_PERIOD_MS) {
      this.rates = { current: rate, previous: rates.current, since: now };
      this.limited = false;
    }
    const best = Math.max(this.rates.current, this.rates.previous);
    this.limitBytes = Math.max(MIN_BYTES, GAIN * best * (this.rtt.least + JITTER_MS) + MIN_BYTES);
  }

  /**
   * Now and then the path is emptied for one round trip (BBR's ProbeRTT): a sender that always queues something would
   * otherwise take its own queue for the length of the path, and queue more.
   */
  private probe(offset: number, rtt: number, now: number): void {
    if (this.probeFrom === undefined) {
      if (now - this.rtt.since < RTT_PERIOD_MS) return;
      this.probeFrom = this.lastEnd;
    } else if (offset > this.probeFrom) {
      this.rtt = { least: rtt, since: now };
      this.probeFrom = undefined;
    }
  }
}
