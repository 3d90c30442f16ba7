import { applyHeaderOps } from '../headers.ts';
import type { Layer } from '../layer.ts';
import type { RouteHit } from '../route/route-matcher.ts';

/** Applies what route and backend say about headers, path and host. The route's operations come first. */
export const changeHeaders: Layer = (next) => (exchange) => {
  const hit = exchange.hit as RouteHit;
  const { route } = hit;
  const { backend } = exchange;
  if (route.requestHeaders !== undefined) applyHeaderOps(exchange.headers, route.requestHeaders);
  if (backend?.requestHeaders !== undefined) applyHeaderOps(exchange.headers, backend.requestHeaders);
  const ofBackend = backend?.responseHeaders;
  const ofRoute = route.responseHeaders;
  if (ofBackend !== undefined || ofRoute !== undefined) {
    exchange.onResponse(({ headers }) => {
      if (ofRoute !== undefined) applyHeaderOps(headers, ofRoute);
      if (ofBackend !== undefined) applyHeaderOps(headers, ofBackend);
    });
  }
  if (hit.rewritePath !== undefined) exchange.path = hit.rewritePath(exchange.path, hit.path);
  if (route.action.kind === 'forward' && route.action.rewrite?.host !== undefined) {
    exchange.authority = route.action.rewrite.host;
  }
  next(exchange);
};
