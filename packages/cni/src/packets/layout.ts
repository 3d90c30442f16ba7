/*
 * A frame: what the TUN device gives and takes, and what one datagram of the tunnel carries.
 *
 *    0      1         2        4          6            8             10
 *   +------+---------+--------+----------+------------+-------------+---------------------------
 *   |flags |gso_type |hdr_len | gso_size | csum_start | csum_offset | IPv4 or IPv6 packet ...
 *   +------+---------+--------+----------+------------+-------------+---------------------------
 *
 * struct virtio_net_hdr (linux/virtio_net.h), little endian. It says what the sender's kernel has left to do: a checksum
 * to complete, a packet of up to 64 KB to cut into segments.
 */

/** Bytes in front of the packet. */
export const FRAME_HEADER_BYTES = 10;
/** The largest frame. */
export const MAX_FRAME_BYTES = FRAME_HEADER_BYTES + 65_535;

export const NEEDS_CHECKSUM = 0x01;
export const DATA_VALID = 0x02;

export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
export const GSO_UDP = 5;
/** May be added to the TCP types: segments keep ECN marks. */
export const GSO_ECN = 0x80;

export const IP = FRAME_HEADER_BYTES;
export const IPV4_HEADER_BYTES = 20;
export const IPV6_HEADER_BYTES = 40;

export const le16 = (bytes: Uint8Array, at: number): number => (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
export const be16 = (bytes: Uint8Array, at: number): number => ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
export const be32 = (bytes: Uint8Array, at: number): number =>
  (((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)) >>>
  0;

/** 4, 6, or something that is no IP version. */
export const versionOf = (frame: Uint8Array): number => (frame[IP] ?? 0) >> 4;
/** Where the source and destination addresses are. */
export const sourceAt = (version: number): number => IP + (version === 4 ? 12 : 8);
export const destinationAt = (version: number): number => IP + (version === 4 ? 16 : 24);
