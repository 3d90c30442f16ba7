/** The little of ASN.1 DER (X.690) that a libp2p TLS certificate needs. */
export const DER = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  context0: 0xa0,
  context3: 0xa3,
} as const;

/** One element of a DER encoding: its tag, its contents and the whole of it. */
export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  readonly raw: Buffer;
}

/** Encodes one element: tag, definite length, contents in a row. */
export function derEncode(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(contents);
  if (body.length < 0x80) return Buffer.concat([Buffer.of(tag, body.length), body]);
  const length: number[] = [];
  for (let rest = body.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff);
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length, ...length), body]);
}

/** Encodes a dotted object identifier. */
export function derOid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let high = Math.floor(arc / 128); high > 0; high = Math.floor(high / 128))
      groups.unshift((high & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return derEncode(DER.oid, Buffer.from(bytes));
}

/** Splits the contents of a constructed element. Throws RangeError on anything that is not DER. */
export function derElements(bytes: Uint8Array): DerElement[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const elements: DerElement[] = [];
  for (let at = 0; at < buffer.length; ) {
    const tag = buffer[at] as number;
    let length = buffer[at + 1] ?? Number.NaN;
    let header = 2;
    if (length >= 0x80) {
      const size = length & 0x7f;
      // Our certificates are below 1 KiB; three length bytes are more than anything sent here needs.
      if (size === 0 || size > 3 || at + 2 + size > buffer.length) throw new RangeError('bad DER length');
      length = buffer.readUIntBE(at + 2, size);
      header += size;
    }
    const end = at + header + length;
    if (!(end <= buffer.length)) throw new RangeError('truncated DER');
    elements.push({ tag, content: buffer.subarray(at + header, end), raw: buffer.subarray(at, end) });
    at = end;
  }
  return elements;
}
