/**
 * Why a request was not served as its backend would have. Stable: code branches on these, metrics and access logs carry them.
 * `failureStatus` turns them into HTTP and gRPC status.
 *
 * | code | meaning |
 * | --- | --- |
 * | `bad-request` | the request breaks HTTP |
 * | `uri-too-long`, `header-too-large` | a limit of the request head |
 * | `request-timeout` | the client was silent in the middle of a request |
 * | `expectation-failed` | `Expect` other than `100-continue` |
 * | `not-implemented` | a transfer coding or CONNECT |
 * | `version-not-supported` | neither HTTP/1.0, 1.1 nor 2 |
 * | `misdirected` | the host needs another TLS connection |
 * | `no-route` | no virtual host or route matches |
 * | `no-backend` | the route has no usable backend |
 * | `no-endpoints` | nothing to send this to |
 * | `overload` | a configured maximum is reached |
 * | `connect-failed` | the endpoint could not be reached |
 * | `connect-timeout` | the endpoint did not accept in time |
 * | `refused-stream` | the endpoint has not processed the request |
 * | `upstream-closed` | a kept connection closed as the request was sent; the endpoint has probably not seen it |
 * | `upstream-reset` | the endpoint closed before its response was complete |
 * | `upstream-protocol` | the endpoint's response breaks HTTP |
 * | `upstream-tls` | TLS with the endpoint failed |
 * | `upstream-timeout` | no response in the route's time |
 * | `per-try-timeout` | no response to one try in its time |
 * | `upstream-idle` | the endpoint was silent in the middle of a response |
 * | `client-gone` | the client closed first |
 * | `fault` | a fault of the route's policy |
 * | `shutdown` | the proxy is stopping |
 */
export type HttpProxyErrorCode =
  | 'bad-request'
  | 'uri-too-long'
  | 'header-too-large'
  | 'request-timeout'
  | 'expectation-failed'
  | 'not-implemented'
  | 'version-not-supported'
  | 'misdirected'
  | 'no-route'
  | 'no-backend'
  | 'no-endpoints'
  | 'overload'
  | 'connect-failed'
  | 'connect-timeout'
  | 'refused-stream'
  | 'upstream-closed'
  | 'upstream-reset'
  | 'upstream-protocol'
  | 'upstream-tls'
  | 'upstream-timeout'
  | 'per-try-timeout'
  | 'upstream-idle'
  | 'client-gone'
  | 'fault'
  | 'shutdown';

/** The error of one request. `retryable`: the endpoint has not seen anything of it. */
export class HttpProxyError extends Error {
  override readonly name = 'HttpProxyError';
  readonly code: HttpProxyErrorCode;
  readonly retryable: boolean;

  constructor(
    code: HttpProxyErrorCode,
    message: string,
    options: { readonly retryable?: boolean; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

/** Why a listener could not be opened. */
export type ListenErrorCode = 'address-in-use' | 'address-not-available' | 'not-permitted' | 'listen-failed';

/** A listener could not be opened. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  readonly code: ListenErrorCode;
  readonly retryable: boolean;

  constructor(code: ListenErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.retryable = code !== 'not-permitted';
  }
}

const LISTEN_CODES: Readonly<Record<string, ListenErrorCode>> = {
  EADDRINUSE: 'address-in-use',
  EADDRNOTAVAIL: 'address-not-available',
  EACCES: 'not-permitted',
  EPERM: 'not-permitted',
};

/** The error of a failed `listen`. */
export function listenError(cause: NodeJS.ErrnoException, where: string): ListenError {
  const code = LISTEN_CODES[cause.code ?? ''] ?? 'listen-failed';
  return new ListenError(code, `cannot listen on ${where}: ${cause.message}`, cause);
}
