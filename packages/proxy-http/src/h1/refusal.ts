import { HttpProxyError } from '../errors.ts';
import { failureStatus } from '../failure-status.ts';
import type { ResponseHead } from '../message.ts';
import { responseHeadText } from './write-head.ts';

/** What reading a request has thrown, as an error of the package. */
export function unreadable(cause: unknown): HttpProxyError {
  if (cause instanceof HttpProxyError) return cause;
  return new HttpProxyError('bad-request', 'the request could not be read', { cause });
}

/** The whole answer to a request that never became an exchange; it ends the connection. */
export function refusalText(error: HttpProxyError): string {
  const { http } = failureStatus(error.code);
  const body = `${error.message}\n`;
  const headers = ['content-type', 'text/plain; charset=utf-8'];
  const head: ResponseHead = { status: http, headers, body: 'length', contentLength: body.length };
  return responseHeadText(head, { chunked: false, close: true, announceKeepAlive: false }) + body;
}
