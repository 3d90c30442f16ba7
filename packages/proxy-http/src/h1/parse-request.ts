import { HttpProxyError } from '../errors.ts';
import type { RequestHead } from '../message.ts';
import { parseAuthority } from '../route/request-view.ts';
import { type FieldRules, type Fields, isToken, parseFields } from './fields.ts';

/** A request as HTTP/1 carries it: the head, and whether the client wants the connection closed after it. */
export interface ParsedRequest {
  readonly head: RequestHead;
  readonly close: boolean;
}

export interface RequestLimits {
  readonly maxHeaderCount: number;
  readonly maxUriBytes: number;
}

const MAX_METHOD_LENGTH = 32;
/** RFC 3986 characters; `#` and what must be percent-encoded are not among them. Browsers send some others unescaped. */
const TARGET = /^[!"$-;=?-Z[-_`a-z{|}~]+$/;

/**
 * Reads the head of an HTTP/1 request (RFC 9112 2 to 6), strictly: what two parsers could understand differently is refused.
 * @param text the head as latin1 from a {@link HeadBuffer}, without the final empty line and its CRLF
 * @throws HttpProxyError with the code that says which status to answer
 */
export function parseRequestHead(text: string, scheme: 'http' | 'https', limits: RequestLimits): ParsedRequest {
  let lineEnd = text.indexOf('\r\n');
  if (lineEnd < 0) lineEnd = text.length;
  const { method, target, version } = parseRequestLine(text.slice(0, lineEnd), limits.maxUriBytes);
  const rules: FieldRules = {
    code: 'bad-request',
    tooLarge: 'header-too-large',
    maxCount: limits.maxHeaderCount,
    foldEqualLengths: false,
  };
  const fields = parseFields(text, lineEnd + 2, rules);
  checkFraming(fields, version);
  const { authority, origin } = resolveTarget(method, target, fields, version);
  const upgrade = upgradeOf(fields, version);
  if (upgrade !== undefined && (fields.chunked || (fields.contentLength ?? 0) > 0)) {
    throw new HttpProxyError('bad-request', 'an upgrade request may not have a body');
  }
  const { contentLength } = fields;
  return {
    close: version === '1.0' ? !fields.keepAlive || fields.close : fields.close,
    head: {
      method,
      scheme,
      authority,
      target: origin,
      headers: fields.headers,
      version,
      body: fields.chunked ? 'stream' : contentLength !== undefined && contentLength > 0 ? 'length' : 'none',
      contentLength,
      expectContinue: expectsContinue(fields, version),
      acceptsTrailers: fields.acceptsTrailers,
      upgrade,
    },
  };
}

function parseRequestLine(line: string, maxUriBytes: number) {
  const methodEnd = line.indexOf(' ');
  const targetEnd = line.lastIndexOf(' ');
  if (methodEnd <= 0 || targetEnd === methodEnd) throw new HttpProxyError('bad-request', 'malformed request line');
  const method = line.slice(0, methodEnd);
  const target = line.slice(methodEnd + 1, targetEnd);
  const protocol = line.slice(targetEnd + 1);
  if (method.length > MAX_METHOD_LENGTH || !isToken(method)) throw new HttpProxyError('bad-request', 'invalid method');
  if (target.length > maxUriBytes) throw new HttpProxyError('uri-too-long', `target longer than ${maxUriBytes} bytes`);
  if (!TARGET.test(target)) throw new HttpProxyError('bad-request', 'invalid character in the request target');
  return { method, target, version: versionOf(protocol) };
}

function versionOf(protocol: string): '1.0' | '1.1' {
  if (protocol === 'HTTP/1.1') return '1.1';
  if (protocol === 'HTTP/1.0') return '1.0';
  if (/^HTTP\/\d\.\d$/.test(protocol)) throw new HttpProxyError('version-not-supported', 'HTTP/1.0, 1.1 and 2 only');
  throw new HttpProxyError('bad-request', 'malformed request line');
}

function checkFraming(fields: Fields, version: '1.0' | '1.1'): void {
  if (!fields.chunked) return;
  if (fields.contentLength !== undefined) {
    throw new HttpProxyError('bad-request', 'Content-Length beside Transfer-Encoding');
  }
  if (version === '1.0') throw new HttpProxyError('bad-request', 'Transfer-Encoding in HTTP/1.0');
}

/** Origin, absolute and asterisk form (RFC 9112 3.2); CONNECT is for proxies of another kind. */
function resolveTarget(method: string, target: string, fields: Fields, version: '1.0' | '1.1') {
  if (fields.hostCount > 1) throw new HttpProxyError('bad-request', 'repeated Host');
  if (fields.host === undefined && version === '1.1') throw new HttpProxyError('bad-request', 'missing Host');
  const host = fields.host ?? '';
  if (parseAuthority(host) === undefined) throw new HttpProxyError('bad-request', 'invalid Host');
  if (method === 'CONNECT') throw new HttpProxyError('not-implemented', 'CONNECT is not supported');
  if (target.startsWith('/')) return { authority: host, origin: target };
  if (target === '*' && method === 'OPTIONS') return { authority: host, origin: target };
  const absolute = /^https?:\/\/([^/?]+)([/?].*)?$/i.exec(target);
  if (absolute === null) throw new HttpProxyError('bad-request', 'invalid request target');
  const authority = absolute[1] as string;
  if (parseAuthority(authority) === undefined)
    throw new HttpProxyError('bad-request', 'invalid authority in the target');
  if (fields.host !== undefined && host.toLowerCase() !== authority.toLowerCase()) {
    throw new HttpProxyError('bad-request', 'the target and Host name different authorities');
  }
  const rest = absolute[2] ?? '/';
  return { authority, origin: rest.startsWith('/') ? rest : `/${rest}` };
}

/** h2c by upgrade is obsolete (RFC 9113 3.1) and ignored, as is an Upgrade that Connection does not name. */
function upgradeOf(fields: Fields, version: '1.0' | '1.1'): string | undefined {
  const { upgrade } = fields;
  if (upgrade === undefined || !fields.wantsUpgrade || version === '1.0') return undefined;
  return /^h2c?$/.test(upgrade) || !/^[\w!#$%&'*+\-.^`|~/]+$/.test(upgrade) ? undefined : upgrade;
}

function expectsContinue(fields: Fields, version: '1.0' | '1.1'): boolean {
  // RFC 9110 10.1.1: ignored in HTTP/1.0.
  if (fields.expect === undefined || version === '1.0') return false;
  if (fields.expect !== '100-continue') throw new HttpProxyError('expectation-failed', 'unknown expectation');
  return true;
}
