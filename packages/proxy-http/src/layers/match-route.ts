import { HttpProxyError } from '../errors.ts';
import type { Layer } from '../layer.ts';
import { routeMatcher } from '../route/route-matcher.ts';

/** Finds the route in the table of this moment: each request anew, so that a kept connection never bypasses routing. */
export const matchRoute: Layer = (next, services) => (exchange) => {
  const table = (exchange.downstream.client.routes ?? services.routes)();
  const hit = routeMatcher(table).match(exchange);
  if (hit === undefined) {
    exchange.fail(new HttpProxyError('no-route', `no route for ${exchange.host || 'this host'} matches this request`));
    return;
  }
  exchange.hit = hit;
  next(exchange);
};
