import { HttpProxyError, type HttpProxyErrorCode } from '../errors.ts';
import type { HeaderList } from '../headers.ts';

/** What the field section of a message says about its own hop, and the end-to-end rest. */
export interface Fields {
  readonly headers: HeaderList;
  host: string | undefined;
  hostCount: number;
  contentLength: number | undefined;
  chunked: boolean;
  close: boolean;
  keepAlive: boolean;
  /** Seconds of `Keep-Alive: timeout=`. */
  keepAliveSeconds: number | undefined;
  upgrade: string | undefined;
  /** `Connection: upgrade` was there. */
  wantsUpgrade: boolean;
  expect: string | undefined;
  acceptsTrailers: boolean;
}

/** How strictly fields are read, and what the failure is called. */
export interface FieldRules {
  readonly code: HttpProxyErrorCode;
  readonly tooLarge: HttpProxyErrorCode;
  readonly maxCount: number;
  /** Equal repeated Content-Length are one (RFC 9112 6.3 allows it); for responses only. */
  readonly foldEqualLengths: boolean;
}

/** Bare CR, bare LF, a folded line, NUL and other controls: nothing that two parsers could read differently may pass. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const FORBIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n|\n[ \t]/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Fields that Connection may not name: dropping them would change what the message means. */
const NOT_HOP_BY_HOP: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'content-type',
  'trailer',
  'cookie',
  'authorization',
  'cache-control',
]);
/** Names seen before, checked and in lower case. Bounded; names are checked before they enter. */
const knownNames = new Map<string, string>();
const MAX_KNOWN_NAMES = 1_000;
const MAX_KNOWN_LENGTH = 64;

/** Refuses what may stand nowhere in a head. The text is all of it, lines divided by CRLF. */
export function checkCharacters(text: string, code: HttpProxyErrorCode): void {
  if (FORBIDDEN.test(text))
    throw new HttpProxyError(code, 'control character, bare CR or LF, or folded line in the head');
}

/** A method or field name (RFC 9110 5.6.2). */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Reads the field lines of `text` from `start`, divided by CRLF, without the empty line. @throws HttpProxyError */
export function parseFields(text: string, start: number, rules: FieldRules): Fields {
  const fields: Fields = {
    headers: [],
    host: undefined,
    hostCount: 0,
    contentLength: undefined,
    chunked: false,
    close: false,
    keepAlive: false,
    keepAliveSeconds: undefined,
    upgrade: undefined,
    wantsUpgrade: false,
    expect: undefined,
    acceptsTrailers: false,
  };
  let named: string[] | undefined;
  let count = 0;
  for (let at = start; at < text.length; ) {
    let end = text.indexOf('\r\n', at);
    if (end < 0) end = text.length;
    if (++count > rules.maxCount) throw new HttpProxyError(rules.tooLarge, `more than ${rules.maxCount} header fields`);
    const colon = text.indexOf(':', at);
    if (colon < 0 || colon >= end) throw new HttpProxyError(rules.code, 'header line without a colon');
    const name = fieldName(text.slice(at, colon), rules.code);
    const value = trimmed(text, colon + 1, end);
    if (name === 'connection') named = readConnection(fields, value, named, rules);
    else if (!takeHopField(fields, name, value, rules)) fields.headers.push(name, value);
    at = end + 2;
  }
  if (named !== undefined) dropNamed(fields, named);
  return fields;
}

/** A field name in lower case. A space before the colon is no token either (RFC 9112 5.1). */
function fieldName(raw: string, code: HttpProxyErrorCode): string {
  const known = knownNames.get(raw);
  if (known !== undefined) return known;
  if (!TOKEN.test(raw)) throw new HttpProxyError(code, 'invalid header name');
  const name = raw.toLowerCase();
  if (raw.length <= MAX_KNOWN_LENGTH) {
    if (knownNames.size >= MAX_KNOWN_NAMES) knownNames.clear();
    // Copied: a slice would keep the whole head alive.
    knownNames.set(Buffer.from(raw, 'latin1').toString('latin1'), name);
  }
  return name;
}

/** Optional white space around a value belongs to nobody (RFC 9110 5.5). */
function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(unit: number): boolean {
  return unit === 0x20 || unit === 0x09;
}

/** Takes a field that belongs to this hop; false where it does not. */
function takeHopField(fields: Fields, name: string, value: string, rules: FieldRules): boolean {
  switch (name) {
    case 'host':
      fields.host = value;
      fields.hostCount++;
      return true;
    case 'content-length':
      takeContentLength(fields, value, rules);
      return true;
    case 'transfer-encoding':
      if (fields.chunked) throw new HttpProxyError(rules.code, 'repeated Transfer-Encoding');
      if (value.toLowerCase() !== 'chunked') {
        const known = rules.code === 'bad-request' && isToken(value) ? 'not-implemented' : rules.code;
        throw new HttpProxyError(known, 'the only Transfer-Encoding is chunked');
      }
      fields.chunked = true;
      return true;
    case 'upgrade':
      fields.upgrade = fields.upgrade === undefined ? value.toLowerCase() : `${fields.upgrade}, ${value.toLowerCase()}`;
      return true;
    case 'expect':
      fields.expect = value.toLowerCase();
      return true;
    case 'te':
      if (/(^|,)\s*trailers\s*(,|;|$)/i.test(value)) fields.acceptsTrailers = true;
      return true;
    case 'keep-alive': {
      const seconds = /(?:^|[,\s])timeout=(\d{1,6})/i.exec(value);
      if (seconds !== null) fields.keepAliveSeconds = Number(seconds[1]);
      return true;
    }
    case 'proxy-connection':
    case 'http2-settings':
      return true;
    default:
      return false;
  }
}

function takeContentLength(fields: Fields, value: string, rules: FieldRules): void {
  const single = rules.foldEqualLengths ? foldEqual(value) : value;
  if (!/^\d{1,15}$/.test(single)) throw new HttpProxyError(rules.code, 'invalid Content-Length');
  const length = Number(single);
  if (fields.contentLength !== undefined && !(rules.foldEqualLengths && fields.contentLength === length)) {
    throw new HttpProxyError(rules.code, 'repeated Content-Length');
  }
  fields.contentLength = length;
}

function foldEqual(value: string): string {
  if (!value.includes(',')) return value;
  const parts = new Set(value.split(',').map((part) => part.trim()));
  return parts.size === 1 ? ([...parts][0] as string) : value;
}

function readConnection(
  fields: Fields,
  value: string,
  named: string[] | undefined,
  rules: FieldRules,
): string[] | undefined {
  if (value === 'keep-alive' || value === 'Keep-Alive') {
    fields.keepAlive = true;
    return named;
  }
  let result = named;
  for (const raw of value.split(',')) {
    const option = raw.trim().toLowerCase();
    if (option === 'close') fields.close = true;
    else if (option === 'keep-alive') fields.keepAlive = true;
    else if (option === 'upgrade') fields.wantsUpgrade = true;
    else if (option !== '' && option !== 'te') {
      if (!isToken(option) || NOT_HOP_BY_HOP.has(option)) {
        throw new HttpProxyError(rules.code, `Connection may not name ${option.slice(0, 40)}`);
      }
      result ??= [];
      result.push(option);
    }
  }
  return result;
}

function dropNamed(fields: Fields, named: readonly string[]): void {
  const { headers } = fields;
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    if (named.includes(headers[i] as string)) continue;
    headers[kept++] = headers[i] as string;
    headers[kept++] = headers[i + 1] as string;
  }
  headers.length = kept;
}
