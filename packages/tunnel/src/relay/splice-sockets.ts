import type { Socket } from 'node:net';

export interface SpliceTotals {
  readonly bytesAtoB: number;
  readonly bytesBtoA: number;
}

/** One direction of a splice: how much came in, and a brake. */
export interface SpliceFlow {
  bytes(): number;
  /** Stops reading until every `hold(true)` has had its `hold(false)`; TCP's window then holds the sender back. */
  hold(on: boolean): void;
}

/**
 * Pipes two raw sockets both ways until both directions have ended or one socket fails. Bytes are not looked at: TLS
 * stays end to end. Half-close passes through; an error on one side destroys the other.
 *
 * @param idleMs a circuit without a byte in either direction for this long is cut (a peer may have vanished silently)
 * @returns the flows that start at `a` and at `b`
 */
export function spliceSockets(
  a: Socket,
  b: Socket,
  idleMs: number,
  onDone: (totals: SpliceTotals) => void,
): [SpliceFlow, SpliceFlow] {
  let open = 2;
  const counts: (() => number)[] = []; // what came before the splice (a ticket) is not part of it
  const pass = (from: Socket, to: Socket): SpliceFlow => {
    const before = from.bytesRead - from.readableLength;
    counts.push(() => from.bytesRead - before);
    from.setNoDelay(true);
    from.setTimeout(idleMs, () => from.destroy());
    from.on('error', () => from.destroy()); // 'close' follows
    from.on('close', () => {
      // Cut short: the other end must see a failure, not an end. In order, `to` still flushes what it has; what it sends
      // after that has nowhere to go.
      if (from.readableEnded) to.destroySoon();
      else to.resetAndDestroy();
      if (--open === 0) onDone({ bytesAtoB: counts[0]?.() ?? 0, bytesBtoA: counts[1]?.() ?? 0 });
    });
    from.pipe(to);
    let holds = 0;
    return {
      bytes: () => from.bytesRead - before,
      hold(on) {
        holds += on ? 1 : -1;
        if (on && holds === 1) from.unpipe(to).pause();
        else if (!on && holds === 0 && !from.destroyed) from.pipe(to);
      },
    };
  };
  return [pass(a, b), pass(b, a)];
}
