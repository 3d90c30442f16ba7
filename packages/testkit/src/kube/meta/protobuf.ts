/** A discovery document as protobuf: the magic `k8s\0` and a `runtime.Unknown` message. Its raw part is left as JSON: nobody reads it. */
export function encodeUnknown(apiVersion: string, kind: string, raw: string): Uint8Array {
  const typeMeta = Buffer.concat([field(1, Buffer.from(apiVersion)), field(2, Buffer.from(kind))]);
  const message = [
    field(1, typeMeta),
    field(2, Buffer.from(raw)),
    field(3, Buffer.alloc(0)),
    field(4, Buffer.alloc(0)),
  ];
  return Buffer.concat([Buffer.from('k8s\0', 'latin1'), ...message]);
}

function field(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | 2]), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest & 127) | 128);
    rest >>>= 7;
  }
  return Buffer.from([...bytes, rest]);
}
