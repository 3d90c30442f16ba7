import type { TunnelError } from '../errors.ts';
import type { Carrier } from '../types.ts';
import type { GoawayCode } from './wire.ts';

/** Who reads a carrier. No call comes from inside `bind`, `write`, `close` or `destroy`. */
export interface LinkReader {
  /** The memory of the chunk is used again after the call. */
  onBytes(chunk: Buffer): void;
  /** The carrier was congested and takes more now. */
  onWritable(): void;
  /** Once and last, unless this side closed or destroyed it. */
  onLost(error: TunnelError): void;
}

/** A carrier as a session drives it: a byte pipe that tells when it is full. */
export interface CarrierLink extends Carrier {
  /** Starts reading. Called once. */
  bind(reader: LinkReader): void;
  write(bytes: Buffer): void;
  /** True while so much is queued that more would only wait: write, but do not feed it. */
  readonly congested: boolean;
  /** How much to write at once: it cannot be overtaken, so a slow path gets little and a fast one much. */
  readonly batchBytes: number;
  /** Says why, sends what is queued, closes. The reader hears nothing more. */
  close(code: GoawayCode, reason: string): void;
  /** Closes at once: the path is dead. The reader hears nothing more. */
  destroy(): void;
}
