/**
 * Why something that discovery read could not be used. Stable: code branches on these and metrics carry them.
 *
 * | code | meaning |
 * | --- | --- |
 * | `invalid-object` | an object, or a field of it, breaks its schema; `object` says which |
 * | `invalid-manifest` | a file cannot be read or parsed; `file` and `line` say where |
 * | `snapshot-corrupt` | the snapshot on disk is cut off or damaged |
 * | `snapshot-foreign` | the file is not a snapshot, or of a newer format |
 * | `snapshot-too-large` | the snapshot exceeds its limit |
 * | `snapshot-io` | the snapshot cannot be read or written |
 * | `api-unreachable` | no connection to the API, or it was cut |
 * | `api-timeout` | the API did not answer in time |
 * | `api-status` | the API answered with an error; `status` has the HTTP code |
 * | `api-gone` | the API no longer has the requested resourceVersion (410): list again |
 * | `api-protocol` | the answer is not what Kubernetes sends |
 * | `api-too-large` | the answer exceeds its limit |
 * | `config` | an option is wrong; nothing was started |
 * | `aborted` | the caller gave up or this side is stopping |
 */
export type DiscoveryErrorCode =
  | 'invalid-object'
  | 'invalid-manifest'
  | 'snapshot-corrupt'
  | 'snapshot-foreign'
  | 'snapshot-too-large'
  | 'snapshot-io'
  | 'api-unreachable'
  | 'api-timeout'
  | 'api-status'
  | 'api-gone'
  | 'api-protocol'
  | 'api-too-large'
  | 'config'
  | 'aborted';

/** The place in an object that a {@link DiscoveryError} is about; unknown parts are empty. */
export interface ObjectLocation {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** Path of the field, `spec.ports[0].port`; empty for the object as a whole. */
  readonly field: string;
}

/** The details of a {@link DiscoveryError}. */
export interface DiscoveryErrorOptions {
  /** True when the same attempt may succeed later. Default false. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
  readonly object?: ObjectLocation;
  readonly file?: string;
  /** 1-based. */
  readonly line?: number;
  /** HTTP status. */
  readonly status?: number;
  /** From a `Retry-After` header, milliseconds. */
  readonly retryAfterMs?: number;
}

/** The error of this package. */
export class DiscoveryError extends Error {
  override readonly name = 'DiscoveryError';
  readonly code: DiscoveryErrorCode;
  readonly retryable: boolean;
  readonly object: ObjectLocation | undefined;
  readonly file: string | undefined;
  readonly line: number | undefined;
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: DiscoveryErrorCode, message: string, options: DiscoveryErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.object = options.object;
    this.file = options.file;
    this.line = options.line;
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}
