/**
 * Cuts a TCP byte stream into DNS messages (RFC 1035 4.2.2): a 16-bit length, then the message. A pure machine: give it
 * chunks, take whole messages, however the chunks were cut.
 */
export interface Deframer {
  push(chunk: Buffer): void;
  /** The next message that is complete, or undefined. */
  next(): Buffer | undefined;
  /** Bytes not yet taken. */
  readonly buffered: number;
}

/** Holds what was pushed and not taken: whoever stops taking must stop pushing. */
export function createDeframer(): Deframer {
  let parts: Buffer[] = [];
  let held = 0;
  const join = () => {
    parts = [Buffer.concat(parts)];
  };
  return {
    get buffered() {
      return held;
    },
    push(chunk) {
      if (chunk.length > 0) parts.push(chunk);
      held += chunk.length;
    },
    next() {
      if (held < 2) return undefined;
      if ((parts[0] as Buffer).length < 2) join();
      const end = 2 + (parts[0] as Buffer).readUInt16BE(0);
      if (held < end) return undefined;
      // A long message in many chunks is joined once, when it is complete.
      if ((parts[0] as Buffer).length < end) join();
      const head = parts[0] as Buffer;
      if (head.length === end) parts.shift();
      else parts[0] = head.subarray(end);
      held -= end;
      return head.subarray(2, end);
    },
  };
}

/** A message with its length in front. */
export function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, 2);
  return framed;
}
