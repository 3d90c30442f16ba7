/**
 * Why a stream, a datagram channel or a dial ended. Stable: code branches on these and metrics carry them.
 *
 * | code | meaning |
 * | --- | --- |
 * | `refused` | the endpoint's host answered, nobody listens there |
 * | `unreachable` | no route, or the node has no session and no path to it |
 * | `timeout` | not accepted, or silent, for longer than allowed |
 * | `forbidden` | the far node does not serve this target to members |
 * | `unknown-node` | no node of that name has announced itself |
 * | `no-endpoints` | the Service has nothing to send this to |
 * | `limit` | a configured maximum is reached |
 * | `reset` | the far side aborted |
 * | `aborted` | this side aborted |
 * | `session-lost` | the session to the node ended and could not resume |
 * | `protocol` | the peer broke the protocol |
 * | `shutdown` | this node is stopping |
 */
export type MeshErrorCode =
  | 'refused'
  | 'unreachable'
  | 'timeout'
  | 'forbidden'
  | 'unknown-node'
  | 'no-endpoints'
  | 'limit'
  | 'reset'
  | 'aborted'
  | 'session-lost'
  | 'protocol'
  | 'shutdown';

export interface MeshErrorOptions {
  /** True when nothing reached the far side and another endpoint may be tried. Default false. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** The error of everything that moves bytes. `message` says what happened and, where there is one, what to do next. */
export class MeshError extends Error {
  override readonly name = 'MeshError';
  readonly code: MeshErrorCode;
  readonly retryable: boolean;

  constructor(code: MeshErrorCode, message: string, options: MeshErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

/** The message of anything thrown, for logs and for wrapping. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
