import type { Counter, Metrics } from '@edgemesh/core';
import { PACKET_FAULTS, type PacketFault } from '../packets/inspect.ts';

/** Why a packet of a local pod did not go out. */
export type SendDrop = 'no-route' | 'full' | 'no-channel' | 'size' | 'loop';
const SEND_DROPS: readonly SendDrop[] = ['no-route', 'full', 'no-channel', 'size', 'loop'];
/** Why a packet of another node did not get in. */
export type ReceiveDrop = PacketFault | 'refused';

/** Counters of the packet path, resolved once. */
export interface PacketMetrics {
  readonly sent: Counter;
  readonly sentBytes: Counter;
  readonly received: Counter;
  readonly receivedBytes: Counter;
  readonly sendDrops: Readonly<Record<SendDrop, Counter>>;
  readonly receiveDrops: Readonly<Record<ReceiveDrop, Counter>>;
}

export function packetMetrics(metrics: Metrics): PacketMetrics {
  const packets = metrics.counter({
    name: 'edgemesh_cni_packets_total',
    help: 'Frames between pods and other nodes; one frame is up to 64 KB of segments.',
    labels: ['direction'],
  });
  const bytes = metrics.counter({
    name: 'edgemesh_cni_packet_bytes_total',
    help: 'Bytes of those frames.',
    labels: ['direction'],
  });
  const drops = metrics.counter({
    name: 'edgemesh_cni_packets_dropped_total',
    help: 'Frames that were dropped.',
    labels: ['direction', 'reason'],
  });
  const all = <T extends string>(direction: string, reasons: readonly T[]) =>
    Object.fromEntries(reasons.map((reason) => [reason, drops.with(direction, reason)])) as Record<T, Counter>;
  return {
    sent: packets.with('out'),
    sentBytes: bytes.with('out'),
    received: packets.with('in'),
    receivedBytes: bytes.with('in'),
    sendDrops: all('out', SEND_DROPS),
    receiveDrops: all<ReceiveDrop>('in', [...PACKET_FAULTS, 'refused']),
  };
}
