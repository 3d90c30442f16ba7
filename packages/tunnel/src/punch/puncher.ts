import type { Duplex } from 'node:stream';
import { type Clock, type Logger, messageOf, sleep } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { ControlPlane, NodeRecord, SocketAddress } from '../types.ts';
import { type MappedPorts, mapPorts } from './mappings.ts';
import { encodeHolePunch } from './messages.ts';
import type { NatKind } from './nat-kind.ts';
import type { PunchOptions } from './punch-options.ts';
import { addressesIn, encodeConnect, PUNCH_CONNECT, PUNCH_SYNC, PunchResponder } from './responder.ts';
import { type Opened, openSimultaneously } from './simultaneous-open.ts';
import { answerTime, comparePeerClock, momentAfterSync, waitUntil } from './timing.ts';

export interface PuncherDeps {
  readonly control: Pick<ControlPlane, 'request' | 'handle' | 'relays'>;
  /** Sees to it that the peer can be asked: through a relay, usually. */
  connectPeer(record: NodeRecord, signal: AbortSignal): Promise<void>;
  /** The far end of a punch that a peer began: finish as TLS server. */
  onPunched(peerId: string, socket: Duplex, peer: SocketAddress): void;
  readonly options: PunchOptions;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface PunchedSocket {
  readonly socket: Duplex;
  readonly address: SocketAddress;
}

/** Opens holes: both ends learn their mapping from a relay, tell each other, and connect at the same moment. */
export interface Puncher extends Disposable {
  /** As the side that begins. Rejects with TunnelError. */
  punch(record: NodeRecord, signal: AbortSignal): Promise<PunchedSocket>;
  /** As last seen; undefined before the first look. */
  natKind(): NatKind | undefined;
}

export function createPuncher(deps: PuncherDeps): Puncher {
  return new HolePuncher(deps);
}

class HolePuncher implements Puncher {
  readonly #deps: PuncherDeps;
  readonly #abort = new AbortController();
  readonly #responder: PunchResponder;
  #natKind: NatKind | undefined;

  constructor(deps: PuncherDeps) {
    this.#deps = deps;
    const { control, options, clock, log } = deps;
    answerTime(control);
    this.#responder = new PunchResponder({
      control,
      mapPort: (signal) => this.#map(1, signal),
      onPunched: (peerId, socket, peer) => deps.onPunched(peerId, socket, peer),
      options,
      clock,
      log,
      signal: this.#abort.signal,
    });
  }

  natKind(): NatKind | undefined {
    return this.#natKind;
  }

  async punch(record: NodeRecord, signal: AbortSignal): Promise<PunchedSocket> {
    const whole = AbortSignal.any([signal, this.#abort.signal]);
    const { socket, peer } = await this.#punchOnce(record, whole).catch(async (error: unknown) => {
      if (!(error instanceof TunnelError) || error.code !== 'refused') throw error;
      return this.#punchInBursts(record.peerId, whole, error);
    });
    return { socket, address: peer };
  }

  /** One pair of ports: enough for NATs that drop what they do not expect, as the first SYN only opens the door. */
  async #punchOnce(record: NodeRecord, signal: AbortSignal): Promise<Opened> {
    const { clock, options } = this.#deps;
    const { peerId } = record;
    using ports = await this.#map(1, signal); // first, as it may tell that punching is in vain
    await this.#deps.connectPeer(record, signal);
    const { peer, roundTripMs } = await this.#connect(peerId, ports, signal);
    // DCUtR: SYNC takes half a round trip, then both sides dial at once. Its answer only says that it came.
    this.#sync(peerId, undefined, signal);
    await sleep(roundTripMs / 2, clock, signal);
    const open = AbortSignal.any([signal, AbortSignal.timeout(options.openTimeoutMs)]);
    const pair = { localPort: ports.mappings[0]?.localPort ?? 0, peer };
    return openSimultaneously([pair], { signal: open, maxRefusals: options.maxRefusals, take: 'connected' });
  }

  /**
   * NATs that answer an unasked SYN with a reset close the hole again, on both sides: the two SYNs must cross on the wire.
   * Clocks are compared, and many pairs of ports dial around the agreed moment, one end in the opposite order of the other.
   */
  async #punchInBursts(peerId: string, signal: AbortSignal, refused: TunnelError): Promise<Opened> {
    const { clock, options } = this.#deps;
    let last = refused;
    for (let round = 0; round < options.bursts && !signal.aborted; round++) {
      using ports = await this.#map(options.burst, signal);
      const { peer } = await this.#connect(peerId, ports, signal);
      const peerClock = await comparePeerClock(this.#deps.control, peerId, signal);
      const moment = momentAfterSync(peerClock);
      this.#sync(peerId, moment + peerClock.offsetMs, signal);
      await waitUntil(moment, clock, signal);
      const open = AbortSignal.any([signal, AbortSignal.timeout(options.burstTimeoutMs)]);
      const pairs = ports.mappings.map(({ localPort }) => ({ localPort, peer }));
      const { burstSpacingMs: spacingMs } = options;
      try {
        return await openSimultaneously(pairs, { signal: open, maxRefusals: 0, spacingMs, take: 'connected' });
      } catch (error) {
        if (!(error instanceof TunnelError)) throw error;
        last = error;
        this.#deps.log.debug('burst failed', {
          peer: peerId,
          round,
          roundTripMs: peerClock.roundTripMs,
          error: last.message,
        });
      }
    }
    throw last;
  }

  async #connect(peerId: string, ports: MappedPorts, signal: AbortSignal) {
    const began = performance.now();
    const reply = await this.#deps.control.request(peerId, PUNCH_CONNECT, encodeConnect(ports), signal);
    const [peer] = addressesIn(reply);
    return { peer: peer as SocketAddress, roundTripMs: performance.now() - began };
  }

  #sync(peerId: string, fireAt: number | undefined, signal: AbortSignal): void {
    const body = encodeHolePunch({ type: 'SYNC', observed: [], ...(fireAt === undefined ? {} : { fireAt }) });
    this.#deps.control
      .request(peerId, PUNCH_SYNC, body, signal)
      .catch((error: unknown) => this.#deps.log.debug('SYNC was not answered', { error: messageOf(error) }));
  }

  async #map(count: number, signal: AbortSignal): Promise<MappedPorts> {
    const ports = await mapPorts(count, this.#deps.control.relays(), signal);
    this.#natKind = ports.natKind;
    if (ports.natKind !== 'symmetric') return ports;
    ports[Symbol.dispose]();
    const why = 'our NAT gives each destination another port (symmetric): punching cannot work';
    throw new TunnelError('unreachable', why);
  }

  [Symbol.dispose](): void {
    this.#abort.abort(new TunnelError('closed', 'the tunnel is closing'));
    this.#responder[Symbol.dispose]();
  }
}
