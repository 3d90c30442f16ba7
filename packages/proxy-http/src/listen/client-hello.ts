import type { Socket } from 'node:net';

/** What a TLS client says before anything is encrypted. */
export interface ClientHello {
  /** Server name indication, lower-case. */
  readonly serverName?: string;
  /** Application protocols in the client's order. */
  readonly alpn: readonly string[];
}

/** A hello with every extension in use and a post-quantum key share is below 2 KiB. */
const MAX_HELLO_BYTES = 16_384;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ALPN = 16;

/** Reads numbers and vectors, and knows when there are not enough bytes. */
class Reader {
  at = 0;
  private readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  number(size: 1 | 2 | 3): number {
    if (this.left < size) throw new RangeError('short');
    const value = this.bytes.readUIntBE(this.at, size);
    this.at += size;
    return value;
  }

  /** A vector with its length before it (RFC 8446 3.4). */
  vector(lengthSize: 1 | 2 | 3): Buffer {
    return this.take(this.number(lengthSize));
  }

  take(length: number): Buffer {
    if (this.left < length) throw new RangeError('short');
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

/**
 * Reads a ClientHello (RFC 8446 4.1.2) from the first bytes of a connection, across records.
 *
 *     record: type(1) version(2) length(2) | handshake: type(1) length(3) version(2) random(32) session ciphers compression extensions
 *
 * @returns `more` when bytes are missing, `invalid` when it is none
 */
export function parseClientHello(bytes: Buffer): ClientHello | 'more' | 'invalid' {
  let handshake: Buffer;
  try {
    const found = joinRecords(bytes);
    if (typeof found === 'string') return found;
    handshake = found;
  } catch {
    // Short: the end of a record has not arrived.
    return 'more';
  }
  try {
    return readHello(handshake);
  } catch {
    // All of it is here, and its lengths contradict each other.
    return 'invalid';
  }
}

/** The handshake message, which may be spread over several records. */
function joinRecords(bytes: Buffer): Buffer | 'more' | 'invalid' {
  const reader = new Reader(bytes);
  const parts: Buffer[] = [];
  let length = 0;
  for (;;) {
    if (bytes.length > reader.at && reader.number(1) !== HANDSHAKE) return 'invalid';
    reader.number(2);
    const part = reader.vector(2);
    if (part.length === 0) return 'invalid';
    parts.push(part);
    length += part.length;
    const message = Buffer.concat(parts);
    if (message[0] !== CLIENT_HELLO) return 'invalid';
    if (length < 4) continue;
    const wanted = message.readUIntBE(1, 3);
    if (wanted > MAX_HELLO_BYTES) return 'invalid';
    if (length >= wanted + 4) return message.subarray(4, wanted + 4);
  }
}

function readHello(message: Buffer): ClientHello {
  const reader = new Reader(message);
  reader.take(2 + 32);
  reader.vector(1);
  reader.vector(2);
  reader.vector(1);
  let serverName: string | undefined;
  const alpn: string[] = [];
  if (reader.left === 0) return { alpn };
  const extensions = new Reader(reader.vector(2));
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const body = new Reader(extensions.vector(2));
    if (type === SERVER_NAME) {
      const names = new Reader(body.vector(2));
      // RFC 6066 3: one name, of type 0.
      if (names.number(1) === 0) serverName = names.vector(2).toString('latin1').toLowerCase();
    } else if (type === ALPN) {
      const names = new Reader(body.vector(2));
      while (names.left > 0) alpn.push(names.vector(1).toString('latin1'));
    }
  }
  return { alpn, ...(serverName !== undefined && { serverName }) };
}

/**
 * Waits for the ClientHello and puts its bytes back. Calls `found` once; with undefined when it is none, or the
 * connection has ended.
 */
export function peekClientHello(socket: Socket, found: (hello: ClientHello | undefined, first: Buffer) => void): void {
  let first: Buffer = Buffer.alloc(0);
  const done = (hello: ClientHello | undefined) => {
    socket.off('data', onData);
    socket.off('end', onEnd);
    socket.off('close', onEnd);
    socket.pause();
    if (first.length > 0) socket.unshift(first);
    found(hello, first);
  };
  const onEnd = () => {
    first = Buffer.alloc(0);
    socket.destroy();
    done(undefined);
  };
  const onData = (chunk: Buffer) => {
    first = first.length === 0 ? chunk : Buffer.concat([first, chunk]);
    const hello = first.length > MAX_HELLO_BYTES * 2 ? 'invalid' : parseClientHello(first);
    if (hello !== 'more') done(hello === 'invalid' ? undefined : hello);
  };
  socket.on('data', onData);
  socket.once('end', onEnd);
  socket.once('close', onEnd);
}
