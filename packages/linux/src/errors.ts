/**
 * Why the kernel did not do what was asked.
 *
 * | code | meaning |
 * | --- | --- |
 * | `missing-tool` | nft, ip or conntrack is not installed |
 * | `not-permitted` | no CAP_NET_ADMIN |
 * | `unsupported` | the kernel or the tool lacks a feature |
 * | `timeout` | the command took longer than allowed and was killed |
 * | `output` | the command said more than allowed and was killed |
 * | `failed` | the command failed for another reason: see `stderr` |
 * | `plan` | the plan contradicts itself |
 * | `aborted` | the caller's signal ended it |
 */
export type LinuxErrorCode =
  | 'missing-tool'
  | 'not-permitted'
  | 'unsupported'
  | 'timeout'
  | 'output'
  | 'failed'
  | 'plan'
  | 'aborted';

export interface LinuxErrorDetails {
  /** The command line that failed. */
  readonly command?: string;
  /** What it said, first 4,000 characters. */
  readonly stderr?: string;
  readonly exitCode?: number;
  readonly cause?: unknown;
}

const RETRYABLE: ReadonlySet<LinuxErrorCode> = new Set(['timeout', 'failed']);

/** The error of everything that touches the kernel. */
export class LinuxError extends Error {
  override readonly name = 'LinuxError';
  readonly code: LinuxErrorCode;
  readonly command: string | undefined;
  readonly stderr: string | undefined;
  readonly exitCode: number | undefined;
  /** True when the same call may work later without anybody installing or granting something. */
  readonly retryable: boolean;

  constructor(code: LinuxErrorCode, message: string, details: LinuxErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.command = details.command;
    this.stderr = details.stderr?.slice(0, 4_000);
    this.exitCode = details.exitCode;
    this.retryable = RETRYABLE.has(code);
  }
}
