import type { HttpProxyErrorCode } from './errors.ts';

/** One finished request. */
export interface AccessLogEntry {
  readonly clientAddress: string;
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly authority: string;
  /** Path as the client sent it, without the query, which may hold secrets. */
  readonly path: string;
  readonly version: '1.0' | '1.1' | '2';
  /** What the client got; 0 where it got nothing. */
  readonly status: number;
  readonly durationMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly requestId: string;
  readonly route?: string;
  readonly cluster?: string;
  /** Address and port of the endpoint that answered or was tried last. */
  readonly endpoint?: string;
  readonly tries: number;
  readonly error?: HttpProxyErrorCode;
}
