import { type Cidr, cidrContains, formatCidr, formatIp, parseCidr, parseIp } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inspectFrame, PACKET_FAULTS } from './inspect.ts';
import { be16, FRAME_HEADER_BYTES, GSO_TCPV4, GSO_UDP, IP, NEEDS_CHECKSUM } from './layout.ts';
import { RangeMap, RangeSet } from './range-set.ts';
import { segmentUdp } from './segment-udp.ts';

const from = new RangeSet(['10.244.1.0/24', 'fd44:1::/64']);
const to = new RangeSet(['10.244.2.0/24', 'fd44:2::/64']);

interface PacketPlan {
  readonly source?: string;
  readonly destination?: string;
  readonly protocol?: number;
  readonly data?: number;
  readonly virtio?: readonly number[];
}

/** A UDP packet behind a virtio header. */
function packet({
  source = '10.244.1.5',
  destination = '10.244.2.7',
  protocol = 17,
  data = 20,
  virtio = [],
}: PacketPlan = {}) {
  const v6 = source.includes(':');
  const header = v6 ? 40 : 20;
  const frame = new Uint8Array(FRAME_HEADER_BYTES + header + 8 + data);
  frame.set(virtio);
  const view = new DataView(frame.buffer, IP);
  if (v6) {
    view.setUint32(0, 0x60000000);
    view.setUint16(4, 8 + data);
    view.setUint8(6, protocol);
    view.setUint8(7, 64);
    frame.set(parseIp(source) as Uint8Array, IP + 8);
    frame.set(parseIp(destination) as Uint8Array, IP + 24);
  } else {
    view.setUint8(0, 0x45);
    view.setUint16(2, header + 8 + data);
    view.setUint8(8, 64);
    view.setUint8(9, protocol);
    frame.set(parseIp(source) as Uint8Array, IP + 12);
    frame.set(parseIp(destination) as Uint8Array, IP + 16);
  }
  view.setUint16(header, 1000);
  view.setUint16(header + 2, 2000);
  view.setUint16(header + 4, 8 + data);
  for (let i = 0; i < data; i++) frame[FRAME_HEADER_BYTES + header + 8 + i] = i;
  return frame;
}

describe('the check of frames from other nodes', () => {
  it('lets pass what goes from their pods to ours', () => {
    expect(inspectFrame(packet(), from, to)).toBeUndefined();
    expect(inspectFrame(packet({ source: 'fd44:1::5', destination: 'fd44:2::7' }), from, to)).toBeUndefined();
  });

  it.each([
    ['source', packet({ source: '10.244.3.5' })],
    ['source', packet({ source: 'fd44:3::5', destination: 'fd44:2::7' })],
    ['destination', packet({ destination: '10.244.1.9' })],
    ['destination', packet({ destination: '8.8.8.8' })],
    ['size', packet().subarray(0, 25)],
    ['header', packet().subarray(0, 50)],
    ['header', Uint8Array.from([...packet(), 0])],
    ['offload', packet({ virtio: [NEEDS_CHECKSUM, 0, 0, 0, 0, 0, 4, 0, 6, 0] })],
    ['offload', packet({ virtio: [NEEDS_CHECKSUM, 0, 0, 0, 0, 0, 200, 0, 6, 0] })],
    ['offload', packet({ virtio: [0, GSO_TCPV4, 54, 0, 200, 5, 20, 0, 16, 0], protocol: 6 })],
    ['offload', packet({ virtio: [NEEDS_CHECKSUM, GSO_TCPV4, 54, 0, 1, 0, 20, 0, 6, 0], protocol: 6 })],
    ['offload', packet({ virtio: [NEEDS_CHECKSUM, GSO_TCPV4, 54, 0, 200, 5, 20, 0, 6, 0], protocol: 17 })],
    ['offload', packet({ virtio: [NEEDS_CHECKSUM, GSO_UDP, 28, 0, 1, 0, 20, 0, 6, 0], data: 1000 })],
    ['offload', packet({ virtio: [0x40] })],
  ] as const)('drops with reason %s', (fault, frame) => {
    expect(inspectFrame(frame, from, to)).toBe(fault);
  });

  it('never throws, and lets nothing pass whose addresses are wrong, whatever the bytes', () => {
    const mutation = fc.array(fc.tuple(fc.nat({ max: 80 }), fc.nat({ max: 255 })), { maxLength: 10 });
    fc.assert(
      fc.property(mutation, fc.boolean(), fc.nat({ max: 90 }), (bytes, v6, cut) => {
        const good = v6 ? packet({ source: 'fd44:1::5', destination: 'fd44:2::7' }) : packet();
        for (const [at, value] of bytes) good[at] = value;
        const frame = cut === 0 ? good : good.subarray(0, cut + 10);
        const verdict = inspectFrame(frame, from, to);
        if (verdict !== undefined) {
          expect(PACKET_FAULTS).toContain(verdict);
          return;
        }
        const version = (frame[IP] as number) >> 4;
        const [source, target, size] = version === 4 ? [12, 16, 4] : [8, 24, 16];
        const at = (offset: number) => frame.subarray(IP + offset, IP + offset + size);
        expect(['10.244.1.0/24', 'fd44:1::/64'].some((c) => cidrContains(parseCidr(c) as Cidr, at(source)))).toBe(true);
        expect(['10.244.2.0/24', 'fd44:2::/64'].some((c) => cidrContains(parseCidr(c) as Cidr, at(target)))).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('cutting UDP batches', () => {
  const internetSum = (bytes: Uint8Array, start = 0) => {
    let sum = start;
    for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] as number) << 8) | (bytes[i + 1] ?? 0);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    return sum;
  };

  it('gives datagrams that a kernel would have sent: lengths, identifications, checksums, payload', () => {
    const plan = fc.record({
      v6: fc.boolean(),
      data: fc.integer({ min: 1, max: 3_000 }),
      size: fc.integer({ min: 24, max: 1_400 }),
    });
    fc.assert(
      fc.property(plan, ({ v6, data, size }) => {
        const header = v6 ? 40 : 20;
        const virtio = [NEEDS_CHECKSUM, GSO_UDP, header + 8, 0, size & 255, size >> 8, header, 0, 6, 0];
        const addresses = v6 ? { source: 'fd44:1::5', destination: 'fd44:2::7' } : {};
        const whole = packet({ ...addresses, data, virtio });
        expect(inspectFrame(whole, from, to)).toBeUndefined();
        const parts = segmentUdp(whole) as Uint8Array[];
        expect(parts).toHaveLength(Math.ceil(data / size));
        const payload = parts.flatMap((part) => [...part.subarray(IP + header + 8)]);
        expect(payload).toEqual([...whole.subarray(IP + header + 8)]);
        for (const [n, part] of parts.entries()) {
          expect(inspectFrame(part, from, to)).toBeUndefined();
          const udp = part.subarray(IP + header);
          expect(be16(udp, 4)).toBe(udp.length);
          if (!v6) {
            expect(internetSum(part.subarray(IP, IP + 20))).toBe(0xffff);
            expect(be16(part, IP + 4)).toBe(n);
          }
          // What the kernel adds to the field must give a datagram that sums up.
          const pseudo = internetSum(part.subarray(IP + (v6 ? 8 : 12), IP + header), 17 + udp.length);
          expect(be16(udp, 6)).toBe(pseudo);
        }
      }),
    );
  });

  it('leaves frames alone that it does not understand', () => {
    expect(segmentUdp(packet({ protocol: 6, virtio: [1, GSO_UDP, 28, 0, 20, 0, 20, 0, 6, 0] }))).toBeUndefined();
  });
});

describe('finding the node of an address', () => {
  it('agrees with a search through all ranges for the longest match', () => {
    const cidr = fc.oneof(
      fc
        .tuple(fc.nat({ max: 3 }), fc.nat({ max: 255 }), fc.integer({ min: 8, max: 32 }))
        .map(([a, b, p]) => `10.${a}.${b}.0/${p}`),
      fc.tuple(fc.nat({ max: 3 }), fc.integer({ min: 16, max: 128 })).map(([a, p]) => `fd0${a}:${a}::/${p}`),
    );
    const address = fc.oneof(
      fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 255 }), fc.nat({ max: 3 })).map(([a, b, c]) => `10.${a}.${b}.${c}`),
      fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 3 })).map(([a, b]) => `fd0${a}:${a}::${b}`),
    );
    fc.assert(
      fc.property(fc.array(cidr, { maxLength: 20 }), address, (cidrs, ip) => {
        const ranges = [...new Map(cidrs.map((text) => [formatCidr(parseCidr(text) as Cidr), text])).keys()];
        const bytes = parseIp(ip) as Uint8Array;
        const map = new RangeMap(ranges.map((text) => [text, text] as const));
        const matches = ranges.filter((text) => cidrContains(parseCidr(text) as Cidr, bytes));
        const best = matches.sort((a, b) => Number(b.split('/')[1]) - Number(a.split('/')[1]))[0];
        expect(map.find(bytes, 0, bytes.length === 4 ? 4 : 6)).toBe(best);
        expect(new RangeSet(ranges).has(bytes, 0, bytes.length === 4 ? 4 : 6)).toBe(matches.length > 0);
        expect(formatIp(bytes)).toBeDefined();
      }),
    );
  });
});
