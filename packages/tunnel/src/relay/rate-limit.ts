import type { Clock } from '@edgemesh/core';
import type { SpliceFlow } from './splice-sockets.ts';

/** How often budgets are refilled, in milliseconds: short enough that a held flow does not stutter visibly. */
const TICK_MS = 20;

/** Holds each peer to a number of bytes per second over all flows that start at it. */
export interface RateLimiter {
  attach(peerId: string, flow: SpliceFlow): void;
  detach(peerId: string, flow: SpliceFlow): void;
}

interface Budget {
  /** Flow to the bytes already charged. */
  readonly flows: Map<SpliceFlow, number>;
  tokens: number;
  held: boolean;
}

/**
 * Token buckets by peer, refilled every 20 ms with a burst of 100 ms. What was read in a tick is charged afterwards; a
 * peer in debt has its flows held until the debt is paid.
 *
 * @param bytesPerSecond 0 = no limit, and no cost
 */
export function createRateLimiter(bytesPerSecond: number, clock: Clock): RateLimiter {
  if (bytesPerSecond === 0) return { attach: () => undefined, detach: () => undefined };
  const budgets = new Map<string, Budget>();
  const burst = bytesPerSecond / 10;
  let ticking = false;
  let last = 0;

  const settle = (budget: Budget, elapsedMs: number) => {
    budget.tokens = Math.min(burst, budget.tokens + (bytesPerSecond * elapsedMs) / 1000);
    for (const [flow, charged] of budget.flows) {
      const bytes = flow.bytes();
      budget.tokens -= bytes - charged;
      budget.flows.set(flow, bytes);
    }
    const held = budget.tokens < 0;
    if (held === budget.held) return;
    budget.held = held;
    for (const flow of budget.flows.keys()) flow.hold(held);
  };
  const tick = () => {
    const now = clock.now();
    for (const [peerId, budget] of budgets) {
      settle(budget, now - last);
      if (budget.flows.size === 0 && budget.tokens === burst) budgets.delete(peerId);
    }
    last = now;
    ticking = budgets.size > 0;
    if (ticking) clock.after(TICK_MS, tick);
  };

  return {
    attach(peerId, flow) {
      const budget = budgets.get(peerId) ?? { flows: new Map<SpliceFlow, number>(), tokens: burst, held: false };
      budgets.set(peerId, budget);
      budget.flows.set(flow, flow.bytes());
      if (budget.held) flow.hold(true);
      if (ticking) return;
      ticking = true;
      last = clock.now();
      clock.after(TICK_MS, tick);
    },
    detach(peerId, flow) {
      const budget = budgets.get(peerId);
      if (budget === undefined) return;
      // a debt outlives the flow that made it: else many short circuits would be free
      budget.tokens -= flow.bytes() - (budget.flows.get(flow) ?? 0);
      budget.flows.delete(flow);
    },
  };
}
