import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { detach, type Logger, messageOf } from '@edgemesh/core';
import type { ManagedControlPlane } from '../control/index.ts';
import type { MeshSecrets, NodeIdentity } from '../identity/index.ts';
import { answerObserve } from '../punch/observe.ts';
import type { RelayedSocket } from '../relay/client.ts';
import type { RelayService } from '../relay/service.ts';
import { secureCarrier } from '../session/index.ts';
import type { Carrier, DataPreamble, PathKind, SocketAddress } from '../types.ts';
import { formatAddress } from './connect.ts';
import { pathOfAddress } from './path-of-address.ts';

/** What a handshake is told about its socket. */
export interface HandshakeOptions {
  readonly role: 'client' | 'server';
  readonly path: PathKind;
  readonly remoteAddress: string;
  readonly expectedPeerId?: string;
  readonly expectedNodeName?: string;
}

export interface ReceptionDeps {
  readonly control: Pick<ManagedControlPlane, 'nodeName' | 'checkPin'>;
  readonly identity: NodeIdentity;
  readonly secrets: MeshSecrets;
  /** Only where this node relays. */
  readonly relayService: RelayService | undefined;
  /** True for a ticket that a relay was asked to dial us with: its arrival is all that counts. */
  takeTicket(ticket: Uint8Array): boolean;
  /** Time for TLS and HELLO, in milliseconds. */
  readonly timeoutMs: number;
  /** Aborted when the tunnel closes. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** A peer that came by itself has proved who it is. */
  onCarrier(carrier: Carrier): void;
}

/** Handshakes with peers that came by themselves, at one time; strangers beyond that are turned away before any cryptography. */
export const MAX_INBOUND_HANDSHAKES = 256;

/** The door of the data plane: every socket becomes a carrier here, whichever way it came, or is closed. */
export class Reception {
  readonly #deps: ReceptionDeps;
  #handshakes = 0;

  constructor(deps: ReceptionDeps) {
    this.#deps = deps;
  }

  /** TLS and HELLO on a socket, either role. Rejects with TunnelError; the socket is destroyed then. */
  handshake(socket: Duplex, about: HandshakeOptions, signal: AbortSignal): Promise<Carrier> {
    const { control, identity, secrets, timeoutMs } = this.#deps;
    return secureCarrier(socket, {
      ...about,
      identity,
      secrets,
      nodeName: control.nodeName,
      pins: (nodeName, peerId) => control.checkPin(nodeName, peerId, 'session'),
      signal: AbortSignal.any([signal, this.#deps.signal]),
      timeoutMs,
    });
  }

  /** A socket of the shared port. */
  acceptData(socket: Socket, preamble: DataPreamble): void {
    const { relayService, timeoutMs } = this.#deps;
    if (preamble.kind === 'direct') {
      if (this.#handshakes >= MAX_INBOUND_HANDSHAKES) {
        socket.destroy();
        return;
      }
      const remoteAddress = formatAddress({ host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 });
      this.#receive(socket, { role: 'server', path: pathOfAddress(socket.remoteAddress), remoteAddress });
    } else if (preamble.kind === 'ticket' && this.#deps.takeTicket(preamble.ticket)) {
      socket.destroy();
    } else if (relayService === undefined) {
      socket.destroy();
    } else if (preamble.kind === 'ticket') {
      relayService.accept(socket, preamble);
    } else {
      answerObserve(socket, timeoutMs);
    }
  }

  /** A circuit that a peer asked a relay for. A relay that calls for itself is at the other end of this very socket. */
  acceptRelayed(from: string, { socket, remoteAddress, relayPeerId }: RelayedSocket): void {
    const path = from === relayPeerId ? 'direct' : 'relayed';
    this.#receive(socket, { role: 'server', path, remoteAddress, expectedPeerId: from });
  }

  /** The far end of a punch that a peer began. */
  acceptPunched(peerId: string, socket: Duplex, peer: SocketAddress): void {
    const remoteAddress = formatAddress(peer);
    this.#receive(socket, { role: 'server', path: 'punched', remoteAddress, expectedPeerId: peerId });
  }

  /** A libp2p stream that a peer opened. */
  acceptCircuit(stream: Duplex, peerId: string): void {
    this.#receive(stream, { role: 'server', path: 'circuit', remoteAddress: CIRCUIT_ADDRESS, expectedPeerId: peerId });
  }

  /** A failure is logged, nobody waits for it. */
  #receive(socket: Duplex, about: HandshakeOptions): void {
    detach('inbound peer', this.#deps.log, this.#secure(socket, about));
  }

  async #secure(socket: Duplex, about: HandshakeOptions): Promise<void> {
    const { log, timeoutMs } = this.#deps;
    this.#handshakes++;
    try {
      this.#deps.onCarrier(await this.handshake(socket, about, AbortSignal.timeout(timeoutMs)));
    } catch (error) {
      log.info('a peer did not get in', { from: about.remoteAddress, path: about.path, reason: messageOf(error) });
    } finally {
      this.#handshakes--;
    }
  }
}

/** What stands for the address of a path that has none of its own. */
export const CIRCUIT_ADDRESS = 'libp2p circuit';
