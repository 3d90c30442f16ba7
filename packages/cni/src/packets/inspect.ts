import {
  be16,
  DATA_VALID,
  destinationAt,
  FRAME_HEADER_BYTES,
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP,
  IP,
  IPV4_HEADER_BYTES,
  IPV6_HEADER_BYTES,
  le16,
  MAX_FRAME_BYTES,
  NEEDS_CHECKSUM,
  sourceAt,
} from './layout.ts';
import type { RangeSet } from './range-set.ts';

/**
 * Why a frame from another node is dropped.
 *
 * | fault | meaning |
 * | --- | --- |
 * | `size` | shorter than its headers, or longer than a frame can be |
 * | `header` | no IPv4 or IPv6 header, or a length in it that is not the packet's |
 * | `offload` | the virtio header asks for something that does not fit the packet |
 * | `source` | the sending node does not own the source address |
 * | `destination` | the destination is no pod range of this node |
 */
export type PacketFault = 'size' | 'header' | 'offload' | 'source' | 'destination';
export const PACKET_FAULTS: readonly PacketFault[] = ['size', 'header', 'offload', 'source', 'destination'];

/** A TCP segment is never cut smaller: Linux's tcp_min_snd_mss default. */
const MIN_TCP_SEGMENT = 48;
/** UDP_MAX_SEGMENTS of Linux 6.9 and later; older ones take 64. */
const MAX_UDP_SEGMENTS = 128;
const UDP = 17;
const TCP = 6;

/**
 * Checks a frame from another node before the kernel sees it. The kernel checks it again and would drop what is malformed;
 * what only we can know is which node may use which addresses.
 */
export function inspectFrame(frame: Uint8Array, from: RangeSet, to: RangeSet): PacketFault | undefined {
  const length = frame.length - FRAME_HEADER_BYTES;
  if (length < IPV4_HEADER_BYTES || frame.length > MAX_FRAME_BYTES) return 'size';
  const version = (frame[IP] as number) >> 4;
  let transport: number;
  let protocol: number;
  if (version === 4) {
    const header = ((frame[IP] as number) & 15) * 4;
    if (header < IPV4_HEADER_BYTES || header > length || be16(frame, IP + 2) !== length) return 'header';
    transport = header;
    protocol = frame[IP + 9] as number;
  } else if (version === 6) {
    if (length < IPV6_HEADER_BYTES) return 'size';
    if (be16(frame, IP + 4) + IPV6_HEADER_BYTES !== length) return 'header';
    transport = IPV6_HEADER_BYTES;
    protocol = frame[IP + 6] as number;
  } else return 'header';
  if (!from.has(frame, sourceAt(version), version)) return 'source';
  if (!to.has(frame, destinationAt(version), version)) return 'destination';
  return offloadFits(frame, length, version, transport, protocol) ? undefined : 'offload';
}

function offloadFits(frame: Uint8Array, length: number, version: number, transport: number, protocol: number): boolean {
  const flags = frame[0] as number;
  if ((flags & ~(NEEDS_CHECKSUM | DATA_VALID)) !== 0) return false;
  const start = le16(frame, 6);
  if ((flags & NEEDS_CHECKSUM) !== 0 && (start < transport || start + le16(frame, 8) + 2 > length)) return false;
  const type = frame[1] as number;
  if (type === GSO_NONE) return true;
  const segment = le16(frame, 4);
  // The kernel needs the checksum's place to cut segments, and the length of the headers to repeat them.
  if ((flags & NEEDS_CHECKSUM) === 0 || le16(frame, 2) > length) return false;
  const isTcp = version === 4 ? GSO_TCPV4 : GSO_TCPV6;
  // An IPv6 extension header may stand before the transport header: then the protocol is not here to see.
  const extended = version === 6 && protocol !== TCP && protocol !== UDP;
  if ((type & ~GSO_ECN) === isTcp) return (protocol === TCP || extended) && segment >= MIN_TCP_SEGMENT;
  if (type === GSO_UDP) {
    return (protocol === UDP || extended) && segment > 0 && (length - transport) / segment <= MAX_UDP_SEGMENTS + 1;
  }
  return false;
}
