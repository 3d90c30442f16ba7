import { HttpProxyError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { Handler, Layer } from '../layer.ts';
import type { FaultPolicy } from '../route-model.ts';
import type { ProxyServices } from '../services.ts';

/** Delays and aborts a share of the requests, where a route's policy says so. */
export const injectFaults: Layer = (next, services) => (exchange) => {
  const fault = exchange.hit?.route.fault;
  if (fault === undefined) {
    next(exchange);
    return;
  }
  const { delay } = fault;
  if (delay === undefined || !hits(delay.percent, services)) {
    abortOrPass(exchange, fault, services, next);
    return;
  }
  const timer = services.clock.after(delay.ms, () => abortOrPass(exchange, fault, services, next));
  exchange.onClosed(() => timer.cancel());
};

function abortOrPass(exchange: Exchange, { abort }: FaultPolicy, services: ProxyServices, next: Handler): void {
  if (exchange.closed) return;
  if (abort === undefined || !hits(abort.percent, services)) next(exchange);
  else exchange.failWith(new HttpProxyError('fault', 'fault injected by the route'), abort.status, abort.grpcStatus);
}

function hits(percent: number, services: ProxyServices): boolean {
  return percent > 0 && services.random() * 100 < percent;
}
