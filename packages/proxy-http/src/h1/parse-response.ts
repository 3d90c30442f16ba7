import { HttpProxyError } from '../errors.ts';
import type { ResponseHead } from '../message.ts';
import { type FieldRules, parseFields } from './fields.ts';

/** A response as HTTP/1 carries it. */
export interface ParsedResponse {
  readonly head: ResponseHead;
  readonly chunked: boolean;
  /** No other request may be sent on this connection. */
  readonly close: boolean;
  readonly keepAliveSeconds: number | undefined;
}

/**
 * Reads the head of an HTTP/1 response (RFC 9112 4 to 6.3).
 * @param text the head as latin1 from a {@link HeadBuffer}, without the final empty line and its CRLF
 * @param method of the request, which decides about the body
 * @throws HttpProxyError `upstream-protocol`
 */
export function parseResponseHead(text: string, method: string, maxHeaderCount: number): ParsedResponse {
  const status = statusOf(text);
  const legacy = text.charCodeAt(7) === DIGIT_0;
  let lineEnd = text.indexOf('\r\n');
  if (lineEnd < 0) lineEnd = text.length;
  const rules: FieldRules = {
    code: 'upstream-protocol',
    tooLarge: 'upstream-protocol',
    maxCount: maxHeaderCount,
    foldEqualLengths: true,
  };
  const fields = parseFields(text, lineEnd + 2, rules);
  if (fields.chunked && (fields.contentLength !== undefined || legacy)) {
    throw new HttpProxyError('upstream-protocol', 'Transfer-Encoding beside Content-Length or in HTTP/1.0');
  }
  const bodiless = method === 'HEAD' || status < 200 || status === 204 || status === 304;
  const { contentLength, chunked } = fields;
  const untilClose = !bodiless && !chunked && contentLength === undefined;
  return {
    chunked,
    close: fields.close || untilClose || (legacy && !fields.keepAlive),
    keepAliveSeconds: fields.keepAliveSeconds,
    head: {
      status,
      headers: fields.headers,
      body:
        status === 101 ? 'raw' : bodiless || contentLength === 0 ? 'none' : chunked || untilClose ? 'stream' : 'length',
      // RFC 9110 8.6: not in 1xx and 204.
      contentLength: status < 200 || status === 204 ? undefined : contentLength,
    },
  };
}

const DIGIT_0 = 0x30;
const SPACE = 0x20;
const CR = 0x0d;

function digitAt(text: string, at: number): number {
  const digit = text.charCodeAt(at) - DIGIT_0;
  return digit >= 0 && digit <= 9 ? digit : Number.NaN;
}

/** The status of `HTTP/1.x NNN`, followed by a space, the end of the line or of the head. */
function statusOf(text: string): number {
  const minor = digitAt(text, 7);
  const status = digitAt(text, 9) * 100 + digitAt(text, 10) * 10 + digitAt(text, 11);
  const after = text.charCodeAt(12);
  const isEnd = text.length === 12 || after === SPACE || after === CR;
  // A part that is no digit makes the status NaN, which is not at least 100.
  if (text.startsWith('HTTP/1.') && minor <= 1 && text.charCodeAt(8) === SPACE && status >= 100 && isEnd) return status;
  throw new HttpProxyError('upstream-protocol', 'malformed status line');
}
