import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import type { HeaderList } from '../headers.ts';

/** Fields of one hop; RFC 9113 8.2.2 forbids them in HTTP/2. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** Fields that node:http2 accepts once only; more than one is a violation of their own definitions. */
const SINGLE: ReadonlySet<string> = new Set([
  'content-type',
  'content-length',
  'etag',
  'location',
  'user-agent',
  'date',
  'age',
  'expires',
  'last-modified',
  'referer',
  'range',
  'retry-after',
  'server',
  'max-forwards',
  'from',
  'authorization',
  'proxy-authorization',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
  'if-match',
  'if-none-match',
  'content-encoding',
  'content-language',
  'content-location',
  'content-md5',
  'content-range',
  'host',
  'access-control-allow-credentials',
  'access-control-max-age',
  'access-control-request-method',
  'dnt',
  'tk',
  'upgrade-insecure-requests',
  'x-content-type-options',
  'alt-svc',
  'hsts',
]);

/** End-to-end fields of a node:http2 raw header list: pseudo-headers and fields of one hop are left out. */
export function endToEndFields(raw: readonly string[], leaveOut?: ReadonlySet<string>): HeaderList {
  const fields: HeaderList = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (name.startsWith(':') || HOP_BY_HOP.has(name) || leaveOut?.has(name)) continue;
    fields.push(name, raw[i + 1] as string);
  }
  return fields;
}

/**
 * A header list as node:http2 takes it without looking at each field again. Fields of which it knows but one value are joined.
 */
export function toRawFields(pseudo: string, value: string, fields: HeaderList): string[] {
  const raw = [pseudo, value];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const first = SINGLE.has(name) ? indexOfName(raw, name) : -1;
    if (first < 0) raw.push(name, fields[i + 1] as string);
    else raw[first + 1] = `${raw[first + 1]}, ${fields[i + 1]}`;
  }
  return raw;
}

function indexOfName(raw: readonly string[], name: string): number {
  for (let i = 0; i < raw.length; i += 2) if (raw[i] === name) return i;
  return -1;
}

/** A header list as node:http2 wants it: repeated fields as arrays, or joined where it takes one value only. */
export function toHttp2Headers(fields: HeaderList, into: OutgoingHttpHeaders): OutgoingHttpHeaders {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    const present = into[name];
    if (present === undefined) into[name] = value;
    else if (Array.isArray(present)) present.push(value);
    else into[name] = SINGLE.has(name) ? `${String(present)}, ${value}` : [String(present), value];
  }
  return into;
}

/** node:http2 hands over trailers as an object. */
export function trailerFields(trailers: IncomingHttpHeaders): HeaderList {
  const fields: HeaderList = [];
  for (const [name, value] of Object.entries(trailers)) {
    if (value === undefined || name.startsWith(':')) continue;
    for (const one of Array.isArray(value) ? value : [value]) fields.push(name, one);
  }
  return fields;
}
