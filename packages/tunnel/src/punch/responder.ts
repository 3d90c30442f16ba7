import type { Duplex } from 'node:stream';
import { type Clock, type Logger, messageOf, type Timer } from '@edgemesh/core';
import { multiaddr } from '@multiformats/multiaddr';
import { fromMultiaddr, toMultiaddr } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import type { ControlRpc, SocketAddress } from '../types.ts';
import { type Family, familyOf, type MappedPorts, pairsOf } from './mappings.ts';
import { decodeHolePunch, encodeHolePunch } from './messages.ts';
import type { PunchOptions } from './punch-options.ts';
import { openSimultaneously } from './simultaneous-open.ts';

/** DCUtR's CONNECT exchange and its SYNC, each one RPC with a HolePunch message as body. */
export const PUNCH_CONNECT = 'punch.connect';
export const PUNCH_SYNC = 'punch.sync';

export interface ResponderDeps {
  readonly control: Pick<ControlRpc, 'handle'>;
  /** One fresh port per IP version, and its mapping. */
  mapPorts(families: ReadonlySet<Family>, signal: AbortSignal): Promise<MappedPorts>;
  onPunched(peerId: string, socket: Duplex, peer: SocketAddress): void;
  readonly options: PunchOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** More addresses than one per IP version mean that the peer knows its NAT to reset: each pair has one chance. */
const MAX_FAMILIES = 2;

/** A punch that a peer began, from its CONNECT to its end. */
interface Inbound extends Disposable {
  readonly ports: MappedPorts;
  readonly peers: readonly SocketAddress[];
  readonly abort: AbortController;
  readonly timer: Timer;
  synced: boolean;
}

/** The side that is asked to punch. A peer has one punch at a time: a new CONNECT ends the one before. */
export class PunchResponder implements Disposable {
  readonly #deps: ResponderDeps;
  readonly #inbound = new Map<string, Inbound>();
  #observing = 0;

  constructor(deps: ResponderDeps) {
    this.#deps = deps;
    deps.control.handle(PUNCH_CONNECT, (peerId, body, signal) => this.#onConnect(peerId, body, signal));
    deps.control.handle(PUNCH_SYNC, async (peerId, body) => this.#onSync(peerId, body));
  }

  async #onConnect(peerId: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const { options, clock } = this.#deps;
    if (this.#observing + this.#inbound.size >= options.maxInbound && !this.#inbound.has(peerId)) {
      throw new TunnelError('limit', 'too many punches under way');
    }
    const peers = addressesIn(body).slice(0, options.burst);
    this.#forget(peerId);
    this.#observing++;
    try {
      const families = new Set(peers.map(familyOf));
      const ports = await this.#deps.mapPorts(families, AbortSignal.any([signal, this.#deps.signal]));
      this.#forget(peerId); // a second CONNECT may have come meanwhile
      const abort = new AbortController();
      const timer = clock.after(options.openTimeoutMs, () => this.#forget(peerId));
      const end = () => {
        timer.cancel();
        abort.abort(new TunnelError('timeout', 'no SYNC came, or another punch began'));
        ports[Symbol.dispose]();
      };
      this.#inbound.set(peerId, { ports, peers, abort, timer, synced: false, [Symbol.dispose]: end });
      return encodeConnect(ports);
    } finally {
      this.#observing--;
    }
  }

  #onSync(peerId: string, body: Uint8Array): Uint8Array {
    const message = decodeHolePunch(body);
    if (message.type !== 'SYNC') throw new TunnelError('protocol', 'expected SYNC');
    const inbound = this.#inbound.get(peerId);
    if (inbound === undefined || inbound.synced) throw new TunnelError('protocol', 'SYNC without CONNECT, or too late');
    inbound.synced = true;
    inbound.timer.cancel();
    this.#open(peerId, inbound).catch((error: unknown) =>
      this.#deps.log.debug('punch failed', { peer: peerId, error: messageOf(error) }),
    );
    return new Uint8Array();
  }

  async #open(peerId: string, inbound: Inbound): Promise<void> {
    const { options } = this.#deps;
    const deadline = AbortSignal.timeout(options.openTimeoutMs);
    const signal = AbortSignal.any([inbound.abort.signal, this.#deps.signal, deadline]);
    try {
      const pairs = pairsOf(inbound.ports.mappings, inbound.peers);
      const isBurst = inbound.peers.length > MAX_FAMILIES;
      const { socket, peer } = await openSimultaneously(pairs, {
        signal,
        take: 'spoken',
        maxRefusals: isBurst ? 0 : Number.POSITIVE_INFINITY,
      });
      this.#deps.onPunched(peerId, socket, peer);
    } finally {
      inbound[Symbol.dispose]();
      if (this.#inbound.get(peerId) === inbound) this.#inbound.delete(peerId);
    }
  }

  #forget(peerId: string): void {
    this.#inbound.get(peerId)?.[Symbol.dispose]();
    this.#inbound.delete(peerId);
  }

  [Symbol.dispose](): void {
    for (const peerId of [...this.#inbound.keys()]) this.#forget(peerId);
  }
}

/** A CONNECT that names the mappings. */
export function encodeConnect({ mappings }: MappedPorts): Uint8Array {
  return encodeHolePunch({
    type: 'CONNECT',
    observed: mappings.map((mapping) => new Uint8Array(toMultiaddr(mapping.observed).bytes)),
  });
}

/** The plain TCP addresses of a CONNECT message, at least one. */
export function addressesIn(body: Uint8Array): SocketAddress[] {
  const message = decodeHolePunch(body);
  if (message.type !== 'CONNECT') throw new TunnelError('protocol', `expected CONNECT, got ${message.type}`);
  const addresses = message.observed.flatMap((bytes) => {
    try {
      const address = fromMultiaddr(multiaddr(bytes));
      return address !== undefined && address.port > 0 ? [address] : [];
    } catch {
      throw new TunnelError('protocol', 'malformed HolePunch message: not a multiaddr');
    }
  });
  if (addresses.length === 0) throw new TunnelError('refused', 'the peer has no observed address');
  return addresses;
}
