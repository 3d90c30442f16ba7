/** What the first message of a TLS client says. */
export type ClientHello =
  /** More bytes are needed. */
  | { readonly kind: 'incomplete' }
  /** The client speaks something else. */
  | { readonly kind: 'not-tls' }
  | {
      readonly kind: 'hello';
      /** Lower-case server name; absent where the client sends none. */
      readonly serverName?: string;
      /** Protocols offered by ALPN, in the client's order. */
      readonly alpn: readonly string[];
    };

/*
 * RFC 8446 5.1 (record) and 4.1.2 (ClientHello):
 *
 *   record:    type(1)=22 version(2)=3,x length(2) fragment
 *   handshake: type(1)=1 length(3) version(2) random(32) session_id<0..32> cipher_suites<2..> compression<1..> extensions<0..>
 *   extension: type(2) data<0..2^16-1>
 *   0 server_name (RFC 6066 3): list<> of { type(1)=0, name<> }      16 ALPN (RFC 7301 3.1): list<> of name<1..255>
 */
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ALPN = 16;
/** RFC 8446 5.1: a fragment is at most 2^14 bytes. */
const MAX_FRAGMENT = 16_384;
const INCOMPLETE: ClientHello = { kind: 'incomplete' };
const NOT_TLS: ClientHello = { kind: 'not-tls' };

/** Reads a ClientHello from the first bytes of a connection, across several records where it must. Pure; never throws. */
export function parseClientHello(bytes: Uint8Array): ClientHello {
  const message = handshakeMessage(bytes);
  if (!(message instanceof Uint8Array)) return message;
  const reader = new Reader(message);
  reader.skip(2 + 32);
  reader.skip(reader.uint8());
  reader.skip(reader.uint16());
  reader.skip(reader.uint8());
  if (reader.failed) return NOT_TLS;
  if (reader.rest === 0) return { kind: 'hello', alpn: [] };
  const extensions = reader.take(reader.uint16());
  return extensions === undefined ? NOT_TLS : readExtensions(new Reader(extensions));
}

/** The body of the ClientHello, put together from its records. */
function handshakeMessage(bytes: Uint8Array): Uint8Array | ClientHello {
  const parts: Uint8Array[] = [];
  let have = 0;
  for (let at = 0; ; ) {
    // Say no as early as possible: plain HTTP must not wait for a fifth byte that never comes.
    if (bytes.length > at && bytes[at] !== HANDSHAKE) return NOT_TLS;
    if (bytes.length > at + 1 && bytes[at + 1] !== 3) return NOT_TLS;
    if (bytes.length < at + 5) return INCOMPLETE;
    const length = ((bytes[at + 3] as number) << 8) | (bytes[at + 4] as number);
    if (length === 0 || length > MAX_FRAGMENT) return NOT_TLS;
    const part = bytes.subarray(at + 5, at + 5 + length);
    parts.push(part);
    have += part.length;
    const whole = parts.length === 1 ? part : Buffer.concat(parts);
    if (whole.length > 0 && whole[0] !== CLIENT_HELLO) return NOT_TLS;
    if (whole.length >= 4) {
      const size = ((whole[1] as number) << 16) | ((whole[2] as number) << 8) | (whole[3] as number);
      if (have >= 4 + size) return whole.subarray(4, 4 + size);
    }
    if (part.length < length) return INCOMPLETE;
    at += 5 + length;
  }
}

function readExtensions(reader: Reader): ClientHello {
  let serverName: string | undefined;
  let alpn: string[] = [];
  while (reader.rest > 0) {
    const type = reader.uint16();
    const data = reader.take(reader.uint16());
    if (data === undefined) return NOT_TLS;
    if (type === SERVER_NAME) serverName = readServerName(new Reader(data));
    else if (type === ALPN) alpn = readAlpn(new Reader(data));
  }
  return { kind: 'hello', ...(serverName !== undefined && { serverName }), alpn };
}

function readServerName(reader: Reader): string | undefined {
  reader.uint16();
  while (reader.rest > 0) {
    const type = reader.uint8();
    const name = reader.take(reader.uint16());
    if (name === undefined) return undefined;
    if (type === 0) return Buffer.from(name).toString('latin1').toLowerCase().replace(/\.$/, '');
  }
  return undefined;
}

function readAlpn(reader: Reader): string[] {
  const found: string[] = [];
  reader.uint16();
  while (reader.rest > 0) {
    const name = reader.take(reader.uint8());
    if (name === undefined || name.length === 0) return [];
    found.push(Buffer.from(name).toString('latin1'));
  }
  return found;
}

/** A cursor that notes when it runs past the end, and gives zeros from then on. */
class Reader {
  failed = false;
  private at = 0;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get rest(): number {
    return this.failed ? 0 : this.bytes.length - this.at;
  }

  uint8(): number {
    return this.take(1)?.[0] ?? 0;
  }

  uint16(): number {
    const two = this.take(2);
    return two === undefined ? 0 : ((two[0] as number) << 8) | (two[1] as number);
  }

  skip(count: number): void {
    this.take(count);
  }

  take(count: number): Uint8Array | undefined {
    if (count > this.rest) {
      this.failed = true;
      return undefined;
    }
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
}
