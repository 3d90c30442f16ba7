import { HttpProxyError } from '../errors.ts';
import type { Layer } from '../layer.ts';

/** Refuses what no route may see, and resolves dot segments, so that `/public/../admin` cannot slip past a route. */
export const checkTarget: Layer = (next) => (exchange) => {
  const { client } = exchange.downstream;
  if (client.mayServe !== undefined && !client.mayServe(exchange.host)) {
    exchange.fail(new HttpProxyError('misdirected', 'this host needs a TLS connection of its own'));
    return;
  }
  // RFC 9110 9.3.8: TRACE shows headers to scripts that may not see them; nobody needs it.
  if (exchange.method === 'TRACE') {
    exchange.answer(405, ['content-type', 'text/plain; charset=utf-8'], 'TRACE is not supported\n');
    return;
  }
  exchange.path = withoutDotSegments(exchange.path);
  next(exchange);
};

const SUSPICIOUS = /\/(\.|%2e)/i;

/** RFC 3986 5.2.4, with `%2e` read as a dot, as backends do. Other escapes stay as they are. */
export function withoutDotSegments(path: string): string {
  if (!SUSPICIOUS.test(path)) return path;
  const kept: string[] = [];
  const segments = path.split('/').slice(1);
  segments.forEach((segment, i) => {
    const plain = segment.replace(/%2e/gi, '.');
    const last = i === segments.length - 1;
    if (plain === '..') kept.pop();
    if (plain !== '.' && plain !== '..') kept.push(segment);
    else if (last) kept.push('');
  });
  return `/${kept.join('/')}`;
}
