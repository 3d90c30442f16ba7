import {
  be16,
  FRAME_HEADER_BYTES,
  GSO_NONE,
  GSO_UDP,
  IP,
  IPV6_HEADER_BYTES,
  le16,
  NEEDS_CHECKSUM,
  versionOf,
} from './layout.ts';

const UDP_HEADER_BYTES = 8;

/** True for several UDP datagrams in one frame, which kernels before 6.2 refuse. */
export function isUdpBatch(frame: Uint8Array): boolean {
  return frame[1] === GSO_UDP;
}

/**
 * Cuts a frame of UDP segmentation offload into one frame per datagram, as the kernel would, for a kernel that cannot.
 * Checksums are left to the kernel: each frame asks for its own. The frame must have passed inspectFrame. Undefined where
 * there are IPv6 extension headers: nobody sends such with offload.
 */
export function segmentUdp(frame: Uint8Array): Uint8Array[] | undefined {
  const version = versionOf(frame);
  const headerBytes = version === 4 ? ((frame[IP] as number) & 15) * 4 : IPV6_HEADER_BYTES;
  const protocol = frame[IP + (version === 4 ? 9 : 6)];
  const size = le16(frame, 4);
  const udp = IP + headerBytes;
  const data = udp + UDP_HEADER_BYTES;
  if (protocol !== 17 || size === 0 || data > frame.length) return undefined;
  const parts: Uint8Array[] = [];
  for (let at = data, n = 0; at < frame.length; at += size, n++) {
    const payload = frame.subarray(at, Math.min(at + size, frame.length));
    const part = new Uint8Array(data + payload.length);
    part.set(frame.subarray(0, data));
    part.set(payload, data);
    part.fill(0, 0, FRAME_HEADER_BYTES);
    part[0] = NEEDS_CHECKSUM;
    part[1] = GSO_NONE;
    put16le(part, 6, headerBytes);
    put16le(part, 8, 6);
    const datagram = UDP_HEADER_BYTES + payload.length;
    if (version === 4) finishIpv4(part, headerBytes, datagram, n);
    else put16be(part, IP + 4, datagram);
    put16be(part, udp + 4, datagram);
    put16be(part, udp + 6, pseudoHeaderSum(part, version, datagram));
    parts.push(part);
  }
  return parts;
}

function finishIpv4(part: Uint8Array, headerBytes: number, datagram: number, n: number): void {
  put16be(part, IP + 2, headerBytes + datagram);
  put16be(part, IP + 4, (be16(part, IP + 4) + n) & 0xffff);
  put16be(part, IP + 10, 0);
  put16be(part, IP + 10, ~sum(part, IP, headerBytes, 0) & 0xffff);
}

/** What a half-done checksum field holds: the folded sum of the pseudo header, not complemented. */
function pseudoHeaderSum(part: Uint8Array, version: number, datagram: number): number {
  const [at, bytes] = version === 4 ? [IP + 12, 8] : [IP + 8, 32];
  return sum(part, at, bytes, 17 + datagram);
}

function sum(bytes: Uint8Array, at: number, length: number, start: number): number {
  let total = start;
  for (let i = 0; i < length; i += 2) total += be16(bytes, at + i);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

function put16be(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

function put16le(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >> 8;
}
