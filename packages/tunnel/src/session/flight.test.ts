import { describe, expect, it } from 'vitest';
import { FlightLimit } from './flight.ts';

/** A sender with endless data over a pipe of `rate` bytes per ms and `rtt` ms, acknowledged every 32 KiB. */
function run(rate: number, rtt: number, forMs: number) {
  const flight = new FlightLimit();
  flight.restart(0, 0);
  const pipe: { end: number; arrives: number }[] = [];
  let sent = 0;
  let acked = 0;
  let free = 0;
  let highest = 0;
  for (let now = 0; now < forMs; now++) {
    while (pipe[0] !== undefined && pipe[0].arrives <= now) {
      acked = (pipe.shift() as { end: number }).end;
      flight.onAcknowledged(acked, now);
    }
    while (!flight.isFull(sent - acked)) {
      flight.onSent(sent + 32_768, sent - acked, now);
      sent += 32_768;
      free = Math.max(free, now) + 32_768 / rate;
      pipe.push({ end: sent, arrives: free + rtt });
    }
    if (now > forMs / 2) highest = Math.max(highest, sent - acked);
  }
  return { acked, highest };
}

describe('FlightLimit', () => {
  it.each([
    ['1 Gbit/s over 100 ms', 125_000, 100],
    ['100 Mbit/s over 20 ms', 12_500, 20],
    ['10 Mbit/s over 40 ms', 1_250, 40],
    ['1 Mbit/s over 100 ms', 125, 100],
  ])('fills a path of %s without queueing more than a path and a bit', (_name, rate, rtt) => {
    const forMs = 40_000;
    const { acked, highest } = run(rate, rtt, forMs);
    // Growing to 12.5 MB in flight takes some round trips.
    expect(acked).toBeGreaterThan(rate * (forMs - 12 * rtt) * 0.9);
    expect(highest).toBeLessThan(3 * rate * rtt + 600_000);
  });

  it('does not shrink for a sender with little to say', () => {
    const flight = new FlightLimit();
    flight.restart(0, 0);
    flight.onSent(10_000_000, 0, 0);
    flight.onAcknowledged(10_000_000, 50);
    const before = flight.limitBytes;
    for (let i = 1; i < 1_000; i++) {
      flight.onSent(10_000_000 + i * 10, 0, i * 50);
      flight.onAcknowledged(10_000_000 + i * 10, i * 50 + 50);
    }
    expect(flight.limitBytes).toBe(before);
  });

  it('begins anew on another carrier', () => {
    const flight = new FlightLimit();
    flight.restart(0, 0);
    const initial = flight.limitBytes;
    flight.onSent(10_000_000, 0, 0);
    flight.onAcknowledged(10_000_000, 50);
    expect(flight.limitBytes).toBeGreaterThan(initial);
    flight.restart(10_000_000, 60);
    expect(flight.limitBytes).toBe(initial);
  });
});
