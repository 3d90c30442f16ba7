import { STATUS_CODES } from 'node:http';
import type { HeaderList } from '../headers.ts';
import type { RequestHead, ResponseHead } from '../message.ts';

/*
 * Heads as HTTP/1 text. Values have been checked where they came in (h1/fields.ts, nghttp2), and are latin1.
 */

function fieldLines(headers: HeaderList): string {
  let text = '';
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return text;
}

/** A request head for an HTTP/1.1 connection that is kept alive. */
export function requestHeadText(head: RequestHead): string {
  let text = `${head.method} ${head.target} HTTP/1.1\r\nhost: ${head.authority}\r\n${fieldLines(head.headers)}`;
  if (head.upgrade !== undefined) text += `connection: upgrade\r\nupgrade: ${head.upgrade}\r\n`;
  if (head.acceptsTrailers) text += 'connection: te\r\nte: trailers\r\n';
  if (head.expectContinue) text += 'expect: 100-continue\r\n';
  if (head.body === 'stream') text += 'transfer-encoding: chunked\r\n';
  else if (head.contentLength !== undefined) text += `content-length: ${head.contentLength}\r\n`;
  return `${text}\r\n`;
}

/** How a response is framed on one HTTP/1 connection. */
export interface ResponseFraming {
  readonly chunked: boolean;
  readonly close: boolean;
  /** HTTP/1.0 clients that asked for it are told that the connection stays. */
  readonly announceKeepAlive: boolean;
}

/** A response head. */
export function responseHeadText(head: ResponseHead, framing: ResponseFraming): string {
  let text = statusLine(head.status) + fieldLines(head.headers);
  if (framing.chunked) text += 'transfer-encoding: chunked\r\n';
  else if (head.contentLength !== undefined) text += `content-length: ${head.contentLength}\r\n`;
  if (framing.close) text += 'connection: close\r\n';
  else if (framing.announceKeepAlive) text += 'connection: keep-alive\r\n';
  return `${text}\r\n`;
}

/** The answer to an upgrade (101), or another 1xx. */
export function informationalText(status: number, headers: HeaderList, upgrade?: string): string {
  const switching = status === 101 ? `connection: upgrade\r\nupgrade: ${upgrade ?? 'websocket'}\r\n` : '';
  return `${statusLine(status)}${fieldLines(headers)}${switching}\r\n`;
}

/** The last chunk with trailers. */
export function lastChunkText(trailers: HeaderList | undefined): string {
  return trailers === undefined ? '0\r\n\r\n' : `0\r\n${fieldLines(trailers)}\r\n`;
}

const lines: string[] = [];

function statusLine(status: number): string {
  let line = lines[status];
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
    lines[status] = line;
  }
  return line;
}
