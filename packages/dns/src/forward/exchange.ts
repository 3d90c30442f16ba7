import type { Clock, Timer } from '@edgemesh/core';
import type { Limits } from '../options.ts';
import { RCODE } from '../wire/constants.ts';
import { type Done, failure, type Outcome, type UpstreamReply } from './outcome.ts';
import type { Question } from './question.ts';
import type { Upstream } from './upstream.ts';

/** Upstreams to ask, in order: those that are up; if none is, those that are merely down. Loops are never asked. */
export function candidates(upstreams: readonly Upstream[]): readonly Upstream[] {
  const up = upstreams.filter((upstream) => upstream.state === 'up');
  return up.length > 0 ? up : upstreams.filter((upstream) => upstream.state === 'down');
}

/** True when somebody is there who is believed to answer. */
export function anyUp(upstreams: readonly Upstream[]): boolean {
  return upstreams.some((upstream) => upstream.state === 'up');
}

/** Answers that settle a question; any other RCODE is a reason to ask the next upstream. */
function isFinal(reply: UpstreamReply): boolean {
  return reply.rcode === RCODE.NOERROR || reply.rcode === RCODE.NXDOMAIN;
}

/**
 * Asks the first upstream, and the next one too whenever the answer is late (its own measured RTT says what late is) or
 * bad. The first settling answer wins. `done` is called exactly once.
 */
export function exchange(
  upstreams: readonly Upstream[],
  question: Question,
  deps: { readonly limits: Limits; readonly clock: Clock },
  done: Done,
): void {
  const { limits, clock } = deps;
  const order = candidates(upstreams);
  if (order.length === 0) {
    done(failure('unreachable'));
    return;
  }
  let sent = 0;
  let pending = 0;
  let finished = false;
  let hedge: Timer | undefined;
  let last: Outcome = failure('timeout');
  // Nobody is believed to answer: one try each, so that clients learn soon that we are offline.
  const attempts = anyUp(order) ? limits.maxAttempts : Math.min(order.length, limits.maxAttempts);

  const finish = (outcome: Outcome) => {
    if (finished) return;
    finished = true;
    hedge?.cancel();
    deadline.cancel();
    done(outcome);
  };
  const deadline = clock.after(limits.exchangeTimeoutMs, () => finish(last));
  const next = () => {
    hedge?.cancel();
    if (finished) return;
    if (sent >= attempts) {
      if (pending === 0) finish(last);
      return;
    }
    const upstream = order[sent++ % order.length] as Upstream;
    pending++;
    // Later rounds wait longer: whoever did not answer twice is not hurried by a third datagram.
    const round = Math.floor((sent - 1) / order.length);
    hedge = clock.after(upstream.hedgeMs * 2 ** round, next);
    upstream.query(question, (outcome) => {
      pending--;
      if (finished) return;
      if (outcome.kind === 'reply' && isFinal(outcome)) return finish(outcome);
      if (outcome.kind === 'reply' || last.kind === 'failure') last = outcome;
      // Each upstream says a bad answer once: asking it again would bring the same.
      if (outcome.kind === 'reply' && sent >= order.length && pending === 0) return finish(last);
      next();
    });
  };
  next();
}
