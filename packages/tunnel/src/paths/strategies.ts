import type { Duplex } from 'node:stream';
import { type ManagedControlPlane, writePreamble } from '../control/index.ts';
import type { Puncher } from '../punch/puncher.ts';
import type { RelayClient } from '../relay/client.ts';
import type { RelayService } from '../relay/service.ts';
import type { Carrier, NodeRecord, PathKind } from '../types.ts';
import { connectFirst, formatAddress } from './connect.ts';
import type { PathStrategy } from './peer-link.ts';
import { CIRCUIT_ADDRESS, type HandshakeOptions } from './reception.ts';

export interface StrategyDeps {
  readonly control: Pick<ManagedControlPlane, 'peerId' | 'openCircuit'>;
  readonly relayClient: RelayClient;
  /** Only where this node relays. */
  readonly relayService: RelayService | undefined;
  /** Undefined with `holePunch: off`. */
  readonly puncher: Puncher | undefined;
  handshake(socket: Duplex, about: HandshakeOptions, signal: AbortSignal): Promise<Carrier>;
}

/** One way to reach a peer per kind of path, each from record to authenticated carrier. */
export function createStrategies(deps: StrategyDeps): Readonly<Partial<Record<PathKind, PathStrategy>>> {
  const secure = (socket: Duplex, path: PathKind, remoteAddress: string, record: NodeRecord, signal: AbortSignal) => {
    const { peerId: expectedPeerId, nodeName: expectedNodeName } = record;
    return deps.handshake(socket, { role: 'client', path, remoteAddress, expectedPeerId, expectedNodeName }, signal);
  };
  const dial =
    (path: 'lan' | 'direct'): PathStrategy =>
    async (record, signal) => {
      const addresses = path === 'lan' ? record.lanAddresses : record.publicAddresses;
      const { socket, address } = await connectFirst(addresses, signal);
      writePreamble(socket, { kind: 'direct' });
      return secure(socket, path, formatAddress(address), record, signal);
    };
  const direct: PathStrategy = async (record, signal) => {
    if (record.publicAddresses.length > 0 || deps.relayService === undefined) return dial('direct')(record, signal);
    const socket = await deps.relayService.callBack(record.peerId, deps.control.peerId, signal);
    const remoteAddress = formatAddress({ host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 });
    return secure(socket, 'direct', remoteAddress, record, signal);
  };
  const relayed: PathStrategy = async (record, signal, avoid) => {
    const { socket, remoteAddress } = await deps.relayClient.connect(record, signal, avoid);
    return secure(socket, 'relayed', remoteAddress, record, signal);
  };
  const circuit: PathStrategy = async (record, signal) => {
    const stream = await deps.control.openCircuit(record, signal);
    return secure(stream, 'circuit', CIRCUIT_ADDRESS, record, signal);
  };
  const { puncher } = deps;
  if (puncher === undefined) return { lan: dial('lan'), direct, relayed, circuit };
  const punched: PathStrategy = async (record, signal) => {
    const { socket, address } = await puncher.punch(record, signal);
    return secure(socket, 'punched', formatAddress(address), record, signal);
  };
  return { lan: dial('lan'), direct, punched, relayed, circuit };
}
