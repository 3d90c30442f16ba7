/**
 * Stable codes of {@link TunnelError}.
 *
 * | code | meaning |
 * | --- | --- |
 * | `config` | an option is missing or wrong; the message names it |
 * | `key` | the node key file is unreadable or not an Ed25519 key |
 * | `listen` | the port cannot be bound |
 * | `secret` | the peer does not hold our mesh secret (or we not theirs) |
 * | `identity` | certificate or record does not match the expected node key, or a node name is pinned to another key |
 * | `protocol` | malformed or unexpected bytes from a peer |
 * | `version` | no protocol version in common |
 * | `timeout` | the peer did not answer in time |
 * | `unreachable` | no address of the peer answered |
 * | `refused` | the peer or relay said no; the message carries its reason |
 * | `limit` | a configured maximum is reached |
 * | `closed` | the tunnel is shutting down |
 */
export type TunnelErrorCode =
  | 'config'
  | 'key'
  | 'listen'
  | 'secret'
  | 'identity'
  | 'protocol'
  | 'version'
  | 'timeout'
  | 'unreachable'
  | 'refused'
  | 'limit'
  | 'closed';

/** The error of the tunnel's own work; streams end with core's MeshError instead. */
export class TunnelError extends Error {
  override readonly name = 'TunnelError';
  readonly code: TunnelErrorCode;
  readonly retryable: boolean;

  constructor(code: TunnelErrorCode, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}
