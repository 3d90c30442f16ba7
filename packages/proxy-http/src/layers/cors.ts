import type { Exchange } from '../exchange.ts';
import { headerValue, removeHeader } from '../headers.ts';
import type { Layer } from '../layer.ts';
import { RegexError } from '../regex/syntax.ts';
import { compileStringMatch, type StringTest } from '../route/string-match.ts';
import type { CorsPolicy } from '../route-model.ts';

/** Fields that only this policy may set where it allows the origin. */
const MANAGED = [
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-expose-headers',
] as const;

/** Answers preflights of allowed origins and marks the responses they may read (Fetch standard, 3.2). */
export const cors: Layer = (next) => (exchange) => {
  const policy = exchange.hit?.route.cors;
  const origin = policy === undefined ? undefined : headerValue(exchange.headers, 'origin');
  if (policy === undefined || origin === undefined) {
    next(exchange);
    return;
  }
  const isPreflight =
    exchange.method === 'OPTIONS' && headerValue(exchange.headers, 'access-control-request-method') !== undefined;
  if (!allows(policy, origin)) {
    if (isPreflight && policy.unmatchedPreflights === 'answer') exchange.answer(204, ['vary', 'origin']);
    else next(exchange);
    return;
  }
  const credentials = policy.allowCredentials === true;
  exchange.onResponse(({ headers }) => {
    for (const name of MANAGED) removeHeader(headers, name);
    headers.push('access-control-allow-origin', origin, 'vary', 'origin');
    if (credentials) headers.push('access-control-allow-credentials', 'true');
    const exposed = policy.exposeHeaders ?? [];
    if (!isPreflight && exposed.length > 0) headers.push('access-control-expose-headers', exposed.join(', '));
  });
  if (isPreflight) answerPreflight(exchange, policy);
  else next(exchange);
};

function answerPreflight(exchange: Exchange, policy: CorsPolicy): void {
  const headers: string[] = [];
  const list = (name: string, allowed: readonly string[] | undefined, asked: string) => {
    if (allowed === undefined || allowed.length === 0) return;
    // A literal `*` means nothing together with credentials, so what was asked for is granted by name.
    const value = allowed.includes('*') ? headerValue(exchange.headers, asked) : allowed.join(', ');
    if (value !== undefined) headers.push(name, value);
  };
  list('access-control-allow-methods', policy.allowMethods, 'access-control-request-method');
  list('access-control-allow-headers', policy.allowHeaders, 'access-control-request-headers');
  if (policy.maxAgeSeconds !== undefined) headers.push('access-control-max-age', String(policy.maxAgeSeconds));
  exchange.answer(204, headers);
}

const tests = new WeakMap<CorsPolicy, readonly StringTest[]>();

function allows(policy: CorsPolicy, origin: string): boolean {
  let compiled = tests.get(policy);
  if (compiled === undefined) {
    compiled = policy.allowOrigins.map((match) => {
      if (match.kind === 'exact' && match.value === '*') return () => true;
      try {
        return compileStringMatch(match);
      } catch (error) {
        // Compilers have told of an invalid pattern; here it allows nobody.
        if (error instanceof RegexError) return () => false;
        throw error;
      }
    });
    tests.set(policy, compiled);
  }
  return compiled.some((test) => test(origin));
}
