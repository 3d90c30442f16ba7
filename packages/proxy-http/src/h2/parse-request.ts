import { randomBytes } from 'node:crypto';
import { HttpProxyError } from '../errors.ts';
import { type HeaderList, headerValue, removeHeader } from '../headers.ts';
import type { BodyKind, RequestHead } from '../message.ts';
import { parseAuthority } from '../route/request-view.ts';
import { endToEndFields } from './fields.ts';

export interface Http2RequestLimits {
  readonly maxUriBytes: number;
  readonly maxHeaderCount: number;
  readonly maxHeaderBytes: number;
}

const PSEUDO: ReadonlySet<string> = new Set([':method', ':scheme', ':authority', ':path', ':protocol']);
const LEFT_OUT: ReadonlySet<string> = new Set(['host', 'content-length', 'te', 'expect']);
const FORBIDDEN = ['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'];
const TARGET = /^[!"$-;=?-Z[-_`a-z{|}~]+$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const VALUE = /^(?![ \t])[\t\x20-\x7e\x80-\xff]*$/;

/**
 * Reads an HTTP/2 request (RFC 9113 8.3, RFC 8441). nghttp2 has refused most of what is malformed; what it lets through and
 * could mean something else in HTTP/1 is refused here.
 * @param raw name, value, ... as node:http2 delivers them
 * @throws HttpProxyError
 */
export function parseHttp2Request(
  raw: readonly string[],
  endStream: boolean,
  limits: Http2RequestLimits,
  encrypted: boolean,
): RequestHead {
  const pseudo = readPseudo(raw);
  checkFields(raw, limits);
  const method = pseudo.get(':method') ?? '';
  const upgrade = upgradeOf(method, pseudo.get(':protocol'));
  const target = targetOf(method, pseudo.get(':path'), limits);
  const authority = authorityOf(pseudo.get(':authority'), raw);
  const headers = joinCookies(endToEndFields(raw, LEFT_OUT));
  const contentLength = contentLengthOf(raw);
  const expect = singleValue(raw, 'expect');
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') {
    throw new HttpProxyError('expectation-failed', 'unknown expectation');
  }
  const isSocket = upgrade !== undefined;
  if (isSocket) headers.push('sec-websocket-key', randomBytes(16).toString('base64'));
  const body: BodyKind = isSocket ? 'raw' : endStream ? 'none' : contentLength === undefined ? 'stream' : 'length';
  return {
    method: isSocket ? 'GET' : method,
    // What the client writes into :scheme is a claim; how it has connected is not.
    scheme: encrypted ? 'https' : 'http',
    authority,
    target,
    headers,
    version: '2',
    body,
    contentLength: isSocket ? undefined : contentLength,
    expectContinue: expect !== undefined && !endStream,
    acceptsTrailers: (singleValue(raw, 'te') ?? '').toLowerCase() === 'trailers',
    upgrade,
  };
}

function readPseudo(raw: readonly string[]): Map<string, string> {
  const pseudo = new Map<string, string>();
  let regular = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (!name.startsWith(':')) {
      regular = true;
      continue;
    }
    if (regular || !PSEUDO.has(name) || pseudo.has(name))
      throw new HttpProxyError('bad-request', 'invalid pseudo-header');
    pseudo.set(name, raw[i + 1] as string);
  }
  return pseudo;
}

function checkFields(raw: readonly string[], limits: Http2RequestLimits): void {
  if (raw.length / 2 > limits.maxHeaderCount + PSEUDO.size) {
    throw new HttpProxyError('header-too-large', `more than ${limits.maxHeaderCount} header fields`);
  }
  let bytes = 0;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    bytes += name.length + value.length + 4;
    if (name.startsWith(':')) continue;
    if (FORBIDDEN.includes(name)) throw new HttpProxyError('bad-request', `${name} in HTTP/2`);
    if (!NAME.test(name) || !VALUE.test(value)) throw new HttpProxyError('bad-request', 'invalid header field');
    if (name === 'te' && value.toLowerCase() !== 'trailers') throw new HttpProxyError('bad-request', 'invalid TE');
  }
  if (bytes > limits.maxHeaderBytes) {
    throw new HttpProxyError('header-too-large', `head longer than ${limits.maxHeaderBytes} bytes`);
  }
}

function upgradeOf(method: string, protocol: string | undefined): string | undefined {
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$/.test(method)) throw new HttpProxyError('bad-request', 'invalid method');
  if (protocol === undefined) {
    if (method === 'CONNECT') throw new HttpProxyError('not-implemented', 'CONNECT is not supported');
    return undefined;
  }
  if (method !== 'CONNECT') throw new HttpProxyError('bad-request', ':protocol without CONNECT');
  if (protocol.toLowerCase() !== 'websocket')
    throw new HttpProxyError('not-implemented', 'the only :protocol is websocket');
  return 'websocket';
}

function targetOf(method: string, path: string | undefined, limits: Http2RequestLimits): string {
  if (path === undefined || path === '') throw new HttpProxyError('bad-request', 'missing :path');
  if (path.length > limits.maxUriBytes) {
    throw new HttpProxyError('uri-too-long', `target longer than ${limits.maxUriBytes} bytes`);
  }
  const asterisk = path === '*' && method === 'OPTIONS';
  if (!asterisk && (!path.startsWith('/') || !TARGET.test(path))) {
    throw new HttpProxyError('bad-request', 'invalid :path');
  }
  return path;
}

/** RFC 9113 8.3.1: `:authority` and Host, where both are there, must agree. */
function authorityOf(authority: string | undefined, raw: readonly string[]): string {
  const host = singleValue(raw, 'host');
  const chosen = authority ?? host ?? '';
  if (authority !== undefined && host !== undefined && host.toLowerCase() !== authority.toLowerCase()) {
    throw new HttpProxyError('bad-request', ':authority and Host differ');
  }
  if (parseAuthority(chosen) === undefined) throw new HttpProxyError('bad-request', 'invalid :authority');
  return chosen;
}

function contentLengthOf(raw: readonly string[]): number | undefined {
  const text = singleValue(raw, 'content-length');
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw new HttpProxyError('bad-request', 'invalid Content-Length');
  return Number(text);
}

/** The only value of a field; more than one is an error. */
function singleValue(raw: readonly string[], name: string): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i] !== name) continue;
    if (found !== undefined) throw new HttpProxyError('bad-request', `repeated ${name}`);
    found = raw[i + 1] as string;
  }
  return found;
}

/** RFC 9113 8.2.3: crumbs become one field again. */
function joinCookies(headers: HeaderList): HeaderList {
  let count = 0;
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === 'cookie') count++;
  if (count < 2) return headers;
  const joined = headerValue(headers, 'cookie') as string;
  removeHeader(headers, 'cookie');
  headers.push('cookie', joined);
  return headers;
}
