/**
 * Cuts a TCP byte stream into DNS messages (RFC 1035 4.2.2): a 16-bit length, then the message. A pure machine: give it
 * chunks, it gives whole messages, however the chunks were cut.
 */
export interface Deframer {
  /** Takes the next chunk; `message` is called for every message that is complete now. */
  push(chunk: Buffer, message: (message: Buffer) => void): void;
  /** Bytes of an unfinished message. */
  readonly buffered: number;
}

/** A deframer holds at most one message of 64 KiB. */
export function createDeframer(): Deframer {
  let parts: Buffer[] = [];
  let held = 0;
  return {
    get buffered() {
      return held;
    },
    push(chunk, message) {
      parts.push(chunk);
      held += chunk.length;
      // A long message in many chunks is joined once, when it is complete.
      if (held < 2 || held < neededBytes(parts)) return;
      let rest = parts.length === 1 ? chunk : Buffer.concat(parts);
      while (rest.length >= 2) {
        const end = 2 + rest.readUInt16BE(0);
        if (rest.length < end) break;
        message(rest.subarray(2, end));
        rest = rest.subarray(end);
      }
      parts = rest.length === 0 ? [] : [rest];
      held = rest.length;
    },
  };
}

function neededBytes(parts: readonly Buffer[]): number {
  const first = parts[0] as Buffer;
  if (first.length >= 2) return 2 + first.readUInt16BE(0);
  const head = Buffer.concat(parts.slice(0, 3));
  return head.length >= 2 ? 2 + head.readUInt16BE(0) : 2;
}

/** A message with its length in front. */
export function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, 2);
  return framed;
}
