import { HttpProxyError } from '../errors.ts';
import type { ResponseHead } from '../message.ts';
import { checkCharacters, type FieldRules, parseFields } from './fields.ts';

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
 * @param text the head as latin1, without the final empty line and its CRLF
 * @param method of the request, which decides about the body
 * @throws HttpProxyError `upstream-protocol`
 */
export function parseResponseHead(text: string, method: string, maxHeaderCount: number): ParsedResponse {
  checkCharacters(text, 'upstream-protocol');
  const line = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: |\r\n|$)/.exec(text);
  if (line === null) throw new HttpProxyError('upstream-protocol', 'malformed status line');
  const status = Number(line[2]);
  let lineEnd = text.indexOf('\r\n');
  if (lineEnd < 0) lineEnd = text.length;
  const rules: FieldRules = {
    code: 'upstream-protocol',
    tooLarge: 'upstream-protocol',
    maxCount: maxHeaderCount,
    foldEqualLengths: true,
  };
  const fields = parseFields(text, lineEnd + 2, rules);
  if (fields.chunked && (fields.contentLength !== undefined || line[1] === '0')) {
    throw new HttpProxyError('upstream-protocol', 'Transfer-Encoding beside Content-Length or in HTTP/1.0');
  }
  const bodiless = method === 'HEAD' || status < 200 || status === 204 || status === 304;
  const { contentLength, chunked } = fields;
  const untilClose = !bodiless && !chunked && contentLength === undefined;
  return {
    chunked,
    close: fields.close || untilClose || (line[1] === '0' && !fields.keepAlive),
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
