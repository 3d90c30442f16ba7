/**
 * Error codes of the CNI specification; 100 and above are ours.
 *
 * | code | number | meaning |
 * | --- | --- | --- |
 * | `incompatible-version` | 1 | the configuration's cniVersion is not supported, or the verb needs a later one |
 * | `unsupported-field` | 2 | a field of the configuration asks for something that this plugin does not do |
 * | `unknown-container` | 3 | the container or its network namespace does not exist |
 * | `invalid-environment` | 4 | a CNI_* variable is missing or malformed |
 * | `io` | 5 | reading stdin, a file or a socket failed |
 * | `decode` | 6 | stdin is no JSON, or not the JSON that was expected |
 * | `invalid-config` | 7 | the configuration contradicts itself or the specification |
 * | `try-again` | 11 | not now, but likely soon: the agent has not said yet which addresses this node has |
 * | `not-available` | 50 | STATUS: ADD cannot be served |
 * | `limited` | 51 | STATUS: ADD cannot be served, and existing pods may have lost connectivity |
 * | `exhausted` | 100 | every address of the node's ranges is taken |
 * | `command` | 101 | `ip`, `nsenter` or the kernel refused |
 * | `delegate` | 102 | a delegated plugin could not be run |
 * | `check-failed` | 103 | CHECK: the attachment is not as ADD left it |
 */
export const CNI_ERROR_NUMBERS = {
  'incompatible-version': 1,
  'unsupported-field': 2,
  'unknown-container': 3,
  'invalid-environment': 4,
  io: 5,
  decode: 6,
  'invalid-config': 7,
  'try-again': 11,
  'not-available': 50,
  limited: 51,
  exhausted: 100,
  command: 101,
  delegate: 102,
  'check-failed': 103,
} as const;

export type CniErrorCode = keyof typeof CNI_ERROR_NUMBERS;

export interface CniErrorOptions {
  /** Longer text: what to look at, or what a command said. */
  readonly details?: string;
  /** The number that a delegate answered with, passed through. */
  readonly number?: number;
  readonly cause?: unknown;
}

/** The error of the plugin side. Becomes the error object of the specification on stdout. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly code: CniErrorCode;
  /** What the runtime sees as `code`. */
  readonly number: number;
  readonly details: string | undefined;
  /** True when the same call may succeed later without anybody changing the configuration. */
  readonly retryable: boolean;

  constructor(code: CniErrorCode, message: string, options: CniErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.number = options.number ?? CNI_ERROR_NUMBERS[code];
    this.details = options.details;
    this.retryable = code === 'try-again' || code === 'exhausted' || code === 'io';
  }
}
