/**
 * Why the DNS server could not start or was asked for something impossible. Stable: code branches on these.
 *
 * | code | meaning | retryable |
 * | --- | --- | --- |
 * | `address-in-use` | another process has the port, UDP or TCP | yes |
 * | `address-unavailable` | the address is not on this machine (yet) | yes |
 * | `permission-denied` | the port needs a privilege | no |
 * | `listen-failed` | the bind failed for another reason, see `cause` | yes |
 * | `invalid-options` | an option has no usable value; the message names it | no |
 */
export type DnsErrorCode =
  | 'address-in-use'
  | 'address-unavailable'
  | 'permission-denied'
  | 'listen-failed'
  | 'invalid-options';

/** Where a listener was wanted. */
export interface DnsErrorPlace {
  readonly address?: string | undefined;
  readonly port?: number | undefined;
  readonly transport?: 'udp' | 'tcp' | undefined;
}

/** The error of this package. `address` and `port` name the listener that failed. */
export class DnsError extends Error {
  override readonly name = 'DnsError';
  readonly code: DnsErrorCode;
  /** True when the same call may succeed later without a change of options. */
  readonly retryable: boolean;
  readonly address: string | undefined;
  readonly port: number | undefined;
  readonly transport: 'udp' | 'tcp' | undefined;

  constructor(code: DnsErrorCode, message: string, options: DnsErrorPlace & { readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = code !== 'permission-denied' && code !== 'invalid-options';
    this.address = options.address;
    this.port = options.port;
    this.transport = options.transport;
  }
}

const CODES: Readonly<Record<string, DnsErrorCode>> = {
  EADDRINUSE: 'address-in-use',
  EADDRNOTAVAIL: 'address-unavailable',
  EACCES: 'permission-denied',
};

/** Turns what a bind threw into a {@link DnsError} that says where. */
export function listenError(cause: unknown, address: string, port: number, transport: 'udp' | 'tcp'): DnsError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const code = CODES[errno] ?? 'listen-failed';
  const where = `${transport}://${address.includes(':') ? `[${address}]` : address}:${port}`;
  return new DnsError(code, `cannot listen on ${where}: ${errno || String(cause)}`, {
    address,
    port,
    transport,
    cause,
  });
}
