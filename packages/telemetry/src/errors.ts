/**
 * | code | meaning |
 * | --- | --- |
 * | `address-in-use` | another program listens on the admin address |
 * | `listen-failed` | the admin address cannot be listened on for another reason |
 * | `invalid-metric` | a metric has a bad name, or is asked for again with another type, labels or buckets |
 * | `duplicate-module` | a module of that name is registered already |
 */
export type TelemetryErrorCode = 'address-in-use' | 'listen-failed' | 'invalid-metric' | 'duplicate-module';

/** The error of this package. Retryable: trying again later may work without anybody changing anything. */
export class TelemetryError extends Error {
  override readonly name = 'TelemetryError';
  readonly code: TelemetryErrorCode;
  readonly retryable: boolean;

  constructor(code: TelemetryErrorCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = code === 'address-in-use' || code === 'listen-failed';
  }
}
