/**
 * Why the lab failed.
 *
 * | code | meaning |
 * | --- | --- |
 * | `plan` | the scenario contradicts itself or names something that is not there |
 * | `unsupported` | no root, no namespaces or a missing tool |
 * | `command` | a command could not be started, failed while setting up, or said too much |
 * | `timeout` | a command or a wait took longer than allowed |
 */
export type LabErrorCode = 'plan' | 'unsupported' | 'command' | 'timeout';

/** The error of the network lab. */
export class LabError extends Error {
  override readonly name = 'LabError';
  readonly code: LabErrorCode;

  constructor(code: LabErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
