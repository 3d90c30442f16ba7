import { randomBytes } from 'node:crypto';
import { headerValue } from '../headers.ts';
import type { Layer } from '../layer.ts';
import { cookieValue } from '../route/request-view.ts';

const COOKIE_BYTES = 18;

/** Gives a client without one the cookie by which its balancer will find its endpoint again. */
export const keepSession: Layer = (next, { upstreams }) => {
  if (upstreams.sessionCookie === undefined) return next;
  return (exchange) => {
    const cluster = exchange.backend?.cluster;
    const cookie = cluster && upstreams.sessionCookie?.(cluster);
    if (cookie !== undefined && cookieValue(headerValue(exchange.headers, 'cookie'), cookie.name) === undefined) {
      const value = randomBytes(COOKIE_BYTES).toString('base64url');
      exchange.madeCookie = { name: cookie.name, value };
      const path = cookie.path === undefined ? '' : `; Path=${cookie.path}`;
      const age = cookie.ttlMs ? `; Max-Age=${Math.round(cookie.ttlMs / 1_000)}` : '';
      exchange.onResponse(({ headers }) =>
        headers.push('set-cookie', `${cookie.name}=${value}${path}${age}; HttpOnly`),
      );
    }
    next(exchange);
  };
};
