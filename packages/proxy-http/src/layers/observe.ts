import { HttpProxyError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { Layer } from '../layer.ts';
import type { ProxyServices } from '../services.ts';

/** Counts and logs every request, bounds how many are in flight, and makes every defect an answer. */
export const observe: Layer = (next, services) => (exchange) => {
  services.active++;
  exchange.downstream.onClosed = (complete) => finish(exchange, complete, services);
  if (services.active > services.limits.maxRequests) {
    exchange.fail(new HttpProxyError('overload', 'too many requests at once'));
    return;
  }
  try {
    next(exchange);
  } catch (error) {
    services.log.error('a request failed unexpectedly', { error: String(error), path: exchange.sentPath });
    exchange.failWith(new HttpProxyError('no-backend', 'internal error', { cause: error }), 500, 13);
  }
};

function finish(exchange: Exchange, complete: boolean, services: ProxyServices): void {
  services.active--;
  if (!complete && exchange.error === undefined) {
    exchange.error = new HttpProxyError('client-gone', 'the client closed the connection');
  }
  exchange.runClosed(complete);
  const { metrics, clock, accessLog } = services;
  const durationMs = clock.now() - exchange.startedAt;
  metrics.requests(exchange.status).add();
  metrics.duration.observe(durationMs / 1_000);
  if (exchange.requestBytes > 0) metrics.requestBytes.add(exchange.requestBytes);
  if (exchange.responseBytes > 0) metrics.responseBytes.add(exchange.responseBytes);
  if (exchange.error !== undefined) metrics.failures.with(exchange.error.code).add();
  if (accessLog !== undefined) writeLog(exchange, durationMs, accessLog);
}

function writeLog(exchange: Exchange, durationMs: number, log: NonNullable<ProxyServices['accessLog']>): void {
  const { hit, backend, endpoint, error } = exchange;
  log({
    clientAddress: exchange.sourceIp,
    method: exchange.method,
    scheme: exchange.scheme,
    authority: exchange.sentAuthority,
    path: exchange.sentPath,
    version: exchange.downstream.head.version,
    status: exchange.status,
    durationMs,
    requestBytes: exchange.requestBytes,
    responseBytes: exchange.responseBytes,
    requestId: exchange.requestId,
    tries: exchange.tries,
    ...(hit && { route: hit.route.name }),
    ...(backend?.cluster && { cluster: backend.cluster.key }),
    ...(endpoint !== undefined && { endpoint }),
    ...(error && { error: error.code }),
  });
}
