import { MeshError, type MeshErrorCode } from '@edgemesh/core';

/**
 * Why a listener could not be opened.
 *
 * | code | meaning |
 * | --- | --- |
 * | `address-in-use` | something else listens there |
 * | `address-not-available` | the address is not on this machine |
 * | `not-permitted` | a port below 1024 without the right to bind it |
 * | `listen-failed` | anything else; see `cause` |
 */
export type ProxyErrorCode = 'address-in-use' | 'address-not-available' | 'not-permitted' | 'listen-failed';

/** A proxy could not start. Bytes in motion fail with {@link MeshError} instead. */
export class ProxyError extends Error {
  override readonly name = 'ProxyError';
  readonly code: ProxyErrorCode;
  /** True when the same may work later. */
  readonly retryable: boolean;

  constructor(code: ProxyErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.retryable = code !== 'not-permitted';
  }
}

const LISTEN_CODES: Readonly<Record<string, ProxyErrorCode>> = {
  EADDRINUSE: 'address-in-use',
  EADDRNOTAVAIL: 'address-not-available',
  EACCES: 'not-permitted',
  EPERM: 'not-permitted',
};

/** The error of a failed `listen` or `bind`. */
export function listenError(cause: NodeJS.ErrnoException, where: string): ProxyError {
  const code = LISTEN_CODES[cause.code ?? ''] ?? 'listen-failed';
  return new ProxyError(code, `cannot listen on ${where}: ${cause.message}`, cause);
}

const SOCKET_CODES: Readonly<Record<string, MeshErrorCode>> = {
  ECONNREFUSED: 'refused',
  ETIMEDOUT: 'timeout',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
  ENETDOWN: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  ENOTFOUND: 'unreachable',
  EAI_AGAIN: 'unreachable',
  EINVAL: 'unreachable',
  EACCES: 'forbidden',
  EPERM: 'forbidden',
  EMFILE: 'limit',
  ENFILE: 'limit',
  ENOBUFS: 'limit',
  ENOMEM: 'limit',
  ECONNABORTED: 'aborted',
};

/** What an error of a socket means. Before it has connected nothing was delivered, so another endpoint may be tried. */
export function socketError(cause: NodeJS.ErrnoException, wasOpen: boolean): MeshError {
  const code = SOCKET_CODES[cause.code ?? ''] ?? 'reset';
  return new MeshError(code, cause.message, { retryable: !wasOpen && code !== 'limit', cause });
}
