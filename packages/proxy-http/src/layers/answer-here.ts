import { HttpProxyError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { applyHeaderOps } from '../headers.ts';
import type { Layer } from '../layer.ts';
import { pickBackend } from '../route/pick-backend.ts';
import type { RouteHit } from '../route/route-matcher.ts';
import type { RedirectAction, RespondAction } from '../route-model.ts';

/** Answers redirects and fixed responses; chooses the backend of everything else. */
export const answerHere: Layer = (next, services) => (exchange) => {
  const hit = exchange.hit as RouteHit;
  const { action, responseHeaders } = hit.route;
  if (action.kind !== 'forward') {
    if (responseHeaders !== undefined) exchange.onResponse(({ headers }) => applyHeaderOps(headers, responseHeaders));
    if (action.kind === 'redirect') redirect(exchange, action, hit);
    else respond(exchange, action);
    return;
  }
  const backend = pickBackend(action.backends, services.random);
  exchange.backend = backend;
  if (backend?.cluster === undefined) {
    const why = backend === undefined ? 'the route has no backend' : 'the backend of the route does not exist';
    const error = new HttpProxyError('no-backend', why);
    if (backend?.invalidStatus === undefined) exchange.fail(error);
    else exchange.failWith(error, backend.invalidStatus);
    return;
  }
  next(exchange);
};

function respond(exchange: Exchange, action: RespondAction): void {
  const headers = action.body === undefined ? [] : ['content-type', action.contentType ?? 'text/plain; charset=utf-8'];
  exchange.answer(action.status, headers, action.body);
}

function redirect(exchange: Exchange, action: RedirectAction, hit: RouteHit): void {
  exchange.answer(action.status, ['location', redirectLocation(exchange, action, hit)]);
}

/** Where a redirect leads. */
export function redirectLocation(
  request: Pick<Exchange, 'scheme' | 'host' | 'port' | 'path' | 'query'>,
  action: RedirectAction,
  hit: Pick<RouteHit, 'rewritePath' | 'path'>,
): string {
  const scheme = action.scheme ?? request.scheme;
  const standard = scheme === 'https' ? 443 : 80;
  const wanted = action.port ?? (action.scheme === undefined ? 'request' : 'scheme');
  const port = wanted === 'scheme' ? standard : wanted === 'request' ? request.port : wanted;
  const name = action.host ?? request.host;
  const host = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name;
  const path = hit.rewritePath?.(request.path, hit.path) ?? request.path;
  const query = action.stripQuery === true || request.query === '' ? '' : `?${request.query}`;
  return `${scheme}://${host}${port === standard ? '' : `:${port}`}${path}${query}`;
}
