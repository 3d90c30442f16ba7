import type { Exchange } from '../exchange.ts';
import { startMirror } from '../forward/mirror-copy.ts';
import type { Layer } from '../layer.ts';

/** Sends copies where the route asks for them. A copy never delays or changes the request it copies. */
export const mirror: Layer = (next, services) => {
  const running = { count: 0 };
  return (exchange: Exchange) => {
    const action = exchange.hit?.route.action;
    const mirrors = action?.kind === 'forward' ? action.mirrors : undefined;
    if (mirrors !== undefined && exchange.downstream.head.upgrade === undefined) {
      for (const { cluster, percent } of mirrors) {
        if (percent <= 0 || services.random() * 100 >= percent) continue;
        if (running.count >= services.limits.maxMirrors) services.metrics.mirrors.with('limit').add();
        else startMirror(exchange, cluster, services, running);
      }
    }
    next(exchange);
  };
};
