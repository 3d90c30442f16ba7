/**
 * Why a gateway's listener is not open.
 *
 * | code | meaning |
 * | --- | --- |
 * | `address-in-use` | something else listens there |
 * | `address-not-available` | the address is not on this machine (any more) |
 * | `not-permitted` | a port below 1024 without the right to bind it |
 * | `listen-failed` | anything else; see `cause` |
 */
export type GatewayErrorCode = 'address-in-use' | 'address-not-available' | 'not-permitted' | 'listen-failed';

/** A listener of the gateway could not be opened. It is tried again; the others go on. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly code: GatewayErrorCode;
  readonly retryable = true;

  constructor(code: GatewayErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

const CODES: Readonly<Record<string, GatewayErrorCode>> = {
  EADDRINUSE: 'address-in-use',
  EADDRNOTAVAIL: 'address-not-available',
  EACCES: 'not-permitted',
  EPERM: 'not-permitted',
};

/** The error of a failed `listen`. */
export function listenError(cause: NodeJS.ErrnoException, where: string): GatewayError {
  return new GatewayError(
    CODES[cause.code ?? ''] ?? 'listen-failed',
    `cannot listen on ${where}: ${cause.message}`,
    cause,
  );
}
