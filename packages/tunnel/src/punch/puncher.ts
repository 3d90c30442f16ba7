import type { Duplex } from 'node:stream';
import { type Clock, type Logger, messageOf, sleep } from '@edgemesh/core';
import { multiaddr } from '@multiformats/multiaddr';
import { fromMultiaddr, pickLocalPort, toMultiaddr } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import type { ControlPlane, NodeRecord, RelayState, SocketAddress } from '../types.ts';
import { decodeHolePunch, encodeHolePunch } from './messages.ts';
import { type NatKind, natKindOf } from './nat-kind.ts';
import { type Mapping, observeMapping } from './observe.ts';
import { openSimultaneously } from './simultaneous-open.ts';

/** DCUtR's CONNECT exchange and its SYNC, each one RPC with a HolePunch message as body. */
export const PUNCH_CONNECT = 'punch.connect';
export const PUNCH_SYNC = 'punch.sync';

export interface PunchOptions {
  /** Time for the simultaneous open after SYNC, in milliseconds: three transmissions of a SYN. */
  readonly openTimeoutMs: number;
  /** Punches that peers may have under way here at one time. */
  readonly maxInbound: number;
}

export const punchDefaults: PunchOptions = { openTimeoutMs: 5_000, maxInbound: 32 };

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

interface Waiting extends Disposable {
  readonly mapping: Mapping;
  readonly peer: SocketAddress;
}

export function createPuncher(deps: PuncherDeps): Puncher {
  return new HolePuncher(deps);
}

class HolePuncher implements Puncher {
  readonly #deps: PuncherDeps;
  /** Peers that have sent CONNECT and not yet SYNC. */
  readonly #waiting = new Map<string, Waiting>();
  readonly #abort = new AbortController();
  #inbound = 0;
  #natKind: NatKind | undefined;

  constructor(deps: PuncherDeps) {
    this.#deps = deps;
    deps.control.handle(PUNCH_CONNECT, (peerId, body, signal) => this.#onConnect(peerId, body, signal));
    deps.control.handle(PUNCH_SYNC, async (peerId, body) => this.#onSync(peerId, body));
  }

  natKind(): NatKind | undefined {
    return this.#natKind;
  }

  async punch(record: NodeRecord, signal: AbortSignal): Promise<PunchedSocket> {
    const { control, clock, options } = this.#deps;
    const whole = AbortSignal.any([signal, this.#abort.signal]);
    await this.#deps.connectPeer(record, whole);
    using mapping = await this.#observe(whole);
    const began = clock.now();
    const hello = encodeHolePunch({ type: 'CONNECT', observed: [toMultiaddr(mapping.observed).bytes] });
    const reply = await control.request(record.peerId, PUNCH_CONNECT, hello, whole);
    const roundTripMs = clock.now() - began;
    const peer = addressIn(reply, 'CONNECT');
    // DCUtR: SYNC takes half a round trip, then both sides dial at once. Its answer only says that it came.
    const sync = control.request(record.peerId, PUNCH_SYNC, encodeHolePunch({ type: 'SYNC', observed: [] }), whole);
    sync.catch((error: unknown) => this.#deps.log.debug('SYNC was not answered', { error: messageOf(error) }));
    await sleep(roundTripMs / 2, clock, whole);
    const open = AbortSignal.any([whole, AbortSignal.timeout(options.openTimeoutMs)]);
    return { socket: await openSimultaneously(mapping.localPort, peer, open), address: peer };
  }

  async #onConnect(peerId: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    if (this.#inbound >= this.#deps.options.maxInbound) throw new TunnelError('limit', 'too many punches under way');
    const peer = addressIn(body, 'CONNECT');
    this.#inbound++;
    try {
      const mapping = await this.#observe(AbortSignal.any([signal, this.#abort.signal]));
      this.#forget(peerId);
      const timer = this.#deps.clock.after(this.#deps.options.openTimeoutMs, () => this.#forget(peerId));
      const end = () => {
        timer.cancel();
        mapping[Symbol.dispose]();
      };
      this.#waiting.set(peerId, { mapping, peer, [Symbol.dispose]: end });
      return encodeHolePunch({ type: 'CONNECT', observed: [toMultiaddr(mapping.observed).bytes] });
    } finally {
      this.#inbound--;
    }
  }

  #onSync(peerId: string, body: Uint8Array): Uint8Array {
    if (decodeHolePunch(body).type !== 'SYNC') throw new TunnelError('protocol', 'expected SYNC');
    const waiting = this.#waiting.get(peerId);
    if (waiting === undefined) throw new TunnelError('protocol', 'SYNC without CONNECT, or too late');
    this.#waiting.delete(peerId);
    const open = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(this.#deps.options.openTimeoutMs)]);
    openSimultaneously(waiting.mapping.localPort, waiting.peer, open)
      .then(
        (socket) => this.#deps.onPunched(peerId, socket, waiting.peer),
        (error: unknown) => this.#deps.log.debug('punch failed', { peer: peerId, error: messageOf(error) }),
      )
      .finally(() => waiting[Symbol.dispose]());
    return new Uint8Array();
  }

  #forget(peerId: string): void {
    this.#waiting.get(peerId)?.[Symbol.dispose]();
    this.#waiting.delete(peerId);
  }

  /** A fresh local port as the nearest relay sees it; a second relay tells whether the NAT is symmetric. */
  async #observe(signal: AbortSignal): Promise<Mapping> {
    const [nearest, second] = connectedRelays(this.#deps.control.relays());
    if (nearest === undefined) throw new TunnelError('unreachable', 'no relay is connected to ask for our mapping');
    const mapping = await observeMapping(nearest, await pickLocalPort(), signal);
    const observed = [mapping.observed];
    if (second !== undefined) {
      const other = await observeMapping(second, mapping.localPort, signal).catch(() => undefined);
      if (other !== undefined) observed.push(other.observed);
      other?.[Symbol.dispose]();
    }
    this.#natKind = natKindOf({ local: { host: mapping.localHost, port: mapping.localPort }, observed });
    if (this.#natKind === 'symmetric') {
      mapping[Symbol.dispose]();
      throw new TunnelError(
        'unreachable',
        'our NAT gives each destination another port (symmetric): punching cannot work',
      );
    }
    return mapping;
  }

  [Symbol.dispose](): void {
    this.#abort.abort(new TunnelError('closed', 'the tunnel is closing'));
    for (const peerId of [...this.#waiting.keys()]) this.#forget(peerId);
  }
}

function connectedRelays(relays: readonly RelayState[]): SocketAddress[] {
  return [...relays]
    .filter((relay) => relay.state === 'connected')
    .sort((a, b) => (a.rttMs ?? Number.POSITIVE_INFINITY) - (b.rttMs ?? Number.POSITIVE_INFINITY))
    .flatMap((relay) => relay.connectedAddress ?? []);
}

/** The first plain TCP address of a CONNECT message. */
function addressIn(body: Uint8Array, type: 'CONNECT'): SocketAddress {
  const message = decodeHolePunch(body);
  if (message.type !== type) throw new TunnelError('protocol', `expected ${type}, got ${message.type}`);
  for (const bytes of message.observed) {
    try {
      const address = fromMultiaddr(multiaddr(bytes));
      if (address !== undefined && address.port > 0) return address;
    } catch {
      throw new TunnelError('protocol', 'malformed HolePunch message: not a multiaddr');
    }
  }
  throw new TunnelError('refused', 'the peer has no observed address');
}
