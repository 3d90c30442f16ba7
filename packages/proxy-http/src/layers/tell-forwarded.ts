import type { Exchange } from '../exchange.ts';
import { type HeaderList, headerValue, removeHeader, setHeader } from '../headers.ts';
import type { Layer } from '../layer.ts';

const FORWARDED_FIELDS: ReadonlySet<string> = new Set([
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-real-ip',
  'forwarded',
]);

/** Tells the backend who asked and how. What the client says of that itself counts only where the client is trusted. */
export const tellForwarded: Layer = (next, services) => {
  const { trust, xForwarded = true, forwarded = false, via } = services.forwarding;
  return (exchange) => {
    const { client, head } = exchange.downstream;
    const trusted = trust?.(client.address) === true;
    if (!trusted) dropClaims(exchange.headers);
    const before = trusted ? headerValue(exchange.headers, 'x-forwarded-for') : undefined;
    if (before !== undefined) exchange.sourceIp = lastAddress(before) ?? exchange.sourceIp;
    if (xForwarded) addXForwarded(exchange, before);
    if (forwarded) addForwarded(exchange);
    if (via !== undefined) {
      exchange.headers.push('via', `${head.version} ${via}`);
      exchange.onResponse((response) => response.headers.push('via', `1.1 ${via}`));
    }
    next(exchange);
  };
};

/** In place, and only where there is something to drop. */
function dropClaims(headers: HeaderList): void {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!FORWARDED_FIELDS.has(name)) continue;
    removeHeader(headers, name);
    i -= 2;
  }
}

function lastAddress(list: string): string | undefined {
  const last = list.slice(list.lastIndexOf(',') + 1).trim();
  return last === '' ? undefined : last;
}

function addXForwarded(exchange: Exchange, before: string | undefined): void {
  const { headers } = exchange;
  const { client } = exchange.downstream;
  if (before === undefined) {
    headers.push('x-forwarded-for', client.address, 'x-forwarded-proto', exchange.scheme);
    headers.push('x-forwarded-host', exchange.sentAuthority, 'x-forwarded-port', String(client.localPort));
    return;
  }
  setHeader(headers, 'x-forwarded-for', `${before}, ${client.address}`);
  // The first proxy knows best; later ones add nothing.
  for (const [name, value] of [
    ['x-forwarded-proto', exchange.scheme],
    ['x-forwarded-host', exchange.sentAuthority],
    ['x-forwarded-port', String(client.localPort)],
  ] as const) {
    if (headerValue(headers, name) === undefined) headers.push(name, value);
  }
}

/** RFC 7239: IPv6 addresses are bracketed and quoted. */
function addForwarded(exchange: Exchange): void {
  const { address } = exchange.downstream.client;
  const node = address.includes(':') ? `"[${address}]"` : address;
  const host = exchange.sentAuthority === '' ? '' : `;host="${exchange.sentAuthority.replace(/["\\]/g, '')}"`;
  const element = `for=${node}${host};proto=${exchange.scheme}`;
  const before = headerValue(exchange.headers, 'forwarded');
  setHeader(exchange.headers, 'forwarded', before === undefined ? element : `${before}, ${element}`);
}
