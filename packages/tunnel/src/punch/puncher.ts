import type { Duplex } from 'node:stream';
import { type Clock, type Logger, messageOf, sleep } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { ControlPlane, NodeRecord, SocketAddress } from '../types.ts';
import { type Family, familyOf, type MappedPorts, mapPorts, pairsOf } from './mappings.ts';
import { encodeHolePunch } from './messages.ts';
import type { NatKind } from './nat-kind.ts';
import type { PunchOptions } from './punch-options.ts';
import { type DialQuietly, openQuietly } from './quiet-open.ts';
import { addressesIn, encodeConnect, PUNCH_CONNECT, PUNCH_SYNC, PunchResponder } from './responder.ts';
import { type Opened, openSimultaneously } from './simultaneous-open.ts';

/** Addresses of the side that is asked: one per IP version. */
const MAX_PEERS = 2;

export interface PuncherDeps {
  readonly control: Pick<ControlPlane, 'request' | 'handle' | 'relays'>;
  /** Sees to it that the peer can be asked: through a relay, usually. */
  connectPeer(record: NodeRecord, signal: AbortSignal): Promise<void>;
  /** The far end of a punch that a peer began: finish as TLS server. */
  onPunched(peerId: string, socket: Duplex, peer: SocketAddress): void;
  /** Called with each look at our own NAT. */
  onNatKind(kind: NatKind): void;
  /** A global IPv6 address of this node. */
  ipv6(): string | undefined;
  /** How to open our own NAT without waking the peer's; undefined where that is impossible. */
  readonly loadQuietDial?: (() => Promise<DialQuietly>) | undefined;
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
}

export function createPuncher(deps: PuncherDeps): Puncher {
  return new HolePuncher(deps);
}

class HolePuncher implements Puncher {
  readonly #deps: PuncherDeps;
  readonly #abort = new AbortController();
  readonly #responder: PunchResponder;

  constructor(deps: PuncherDeps) {
    this.#deps = deps;
    const { control, options, clock, log } = deps;
    this.#responder = new PunchResponder({
      control,
      mapPorts: (families, signal) => this.#map(families, 1, signal),
      onPunched: (peerId, socket, peer) => deps.onPunched(peerId, socket, peer),
      options,
      clock,
      log,
      signal: this.#abort.signal,
    });
  }

  async punch(record: NodeRecord, signal: AbortSignal): Promise<PunchedSocket> {
    const whole = AbortSignal.any([signal, this.#abort.signal]);
    const families = new Set<Family>([4, 6]);
    const { socket, peer } = await this.#punchOnce(record, families, whole).catch((refused: unknown) => {
      if (!(refused instanceof TunnelError) || refused.code !== 'refused') throw refused;
      return this.#punchQuietly(record.peerId, families, whole).catch((error: unknown) => {
        this.#deps.log.debug('quiet punch failed', { peer: record.peerId, error: messageOf(error) });
        throw refused;
      });
    });
    return { socket, address: peer };
  }

  /**
   * One pair of ports per IP version: enough for NATs that drop what they do not expect, as the first SYN only opens the door.
   * What the peer does not have is taken out of `families`.
   */
  async #punchOnce(record: NodeRecord, families: Set<Family>, signal: AbortSignal): Promise<Opened> {
    const { clock, options } = this.#deps;
    const { peerId } = record;
    using ports = await this.#map(families, 1, signal); // first, as it may tell that punching is in vain
    await this.#deps.connectPeer(record, signal);
    const { peers, roundTripMs } = await this.#connect(peerId, ports, signal);
    const pairs = pairsOf(ports.mappings, peers);
    for (const family of [...families]) {
      if (!pairs.some(({ peer }) => familyOf(peer) === family)) families.delete(family);
    }
    // DCUtR: SYNC takes half a round trip, then both sides dial at once. Its answer only says that it came.
    this.#sync(peerId, signal);
    await sleep(roundTripMs / 2, clock, signal);
    const open = AbortSignal.any([signal, AbortSignal.timeout(options.openTimeoutMs)]);
    return openSimultaneously(pairs, { signal: open, maxRefusals: options.maxRefusals, take: 'connected' });
  }

  /**
   * NATs that answer an unasked SYN with a reset close the hole again, on both sides. So ours is opened by SYNs that die on the
   * way: a number of ports, each a router further. One of them passes our NAT and does not reach the peer's; the peer comes in there.
   */
  async #punchQuietly(peerId: string, families: ReadonlySet<Family>, signal: AbortSignal): Promise<Opened> {
    const { options } = this.#deps;
    const dialQuietly = await this.#deps.loadQuietDial?.();
    if (dialQuietly === undefined) throw new TunnelError('unreachable', 'SYNs cannot be sent quietly here');
    using ports = await this.#map(families, options.burst, signal);
    const { peers, roundTripMs } = await this.#connect(peerId, ports, signal);
    const limitMs = Math.ceil(roundTripMs + options.burstTimeoutMs);
    const open = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
    const opening = openQuietly(pairsOf(ports.mappings, peers), dialQuietly, open); // now, before the peer dials
    this.#sync(peerId, signal);
    return await opening;
  }

  async #connect(peerId: string, ports: MappedPorts, signal: AbortSignal) {
    const began = performance.now();
    const reply = await this.#deps.control.request(peerId, PUNCH_CONNECT, encodeConnect(ports), signal);
    return { peers: addressesIn(reply).slice(0, MAX_PEERS), roundTripMs: performance.now() - began };
  }

  #sync(peerId: string, signal: AbortSignal): void {
    const body = encodeHolePunch({ type: 'SYNC', observed: [] });
    this.#deps.control
      .request(peerId, PUNCH_SYNC, body, signal)
      .catch((error: unknown) => this.#deps.log.debug('SYNC was not answered', { error: messageOf(error) }));
  }

  /** Fresh ports, as many as given in all, the same number for each IP version. */
  async #map(families: ReadonlySet<Family>, count: number, signal: AbortSignal): Promise<MappedPorts> {
    const { control, ipv6 } = this.#deps;
    const usable = [...families].filter((family) => family === 4 || ipv6() !== undefined);
    const each = Math.max(1, Math.floor(count / Math.max(1, usable.length)));
    const counts = Object.fromEntries(usable.map((family) => [family, each]));
    const ports = await mapPorts({ counts, relays: control.relays(), ipv6: ipv6(), signal });
    if (ports.natKind !== undefined) this.#deps.onNatKind(ports.natKind);
    if (ports.mappings.length > 0) return ports;
    const why =
      ports.natKind === 'symmetric'
        ? 'our NAT gives each destination another port (symmetric): punching cannot work'
        : 'we have no address of the IP version that the peer has';
    throw new TunnelError('unreachable', why);
  }

  [Symbol.dispose](): void {
    this.#abort.abort(new TunnelError('closed', 'the tunnel is closing'));
    this.#responder[Symbol.dispose]();
  }
}
