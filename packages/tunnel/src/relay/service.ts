import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Clock, Logger, Timer } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { RelayLimits } from '../options.ts';
import type { ControlRpc, DataPreamble } from '../types.ts';
import type { CircuitBook, CircuitPlace, RelayStatus } from './circuit-book.ts';
import { decodeFields, encodeMessage, RELAY_CONNECT, RELAY_INCOMING } from './messages.ts';
import { spliceSockets } from './splice-sockets.ts';
import { type Circuit, TICKET_BYTES, TicketLedger } from './tickets.ts';

export interface RelayServiceDeps {
  /** The control plane: members call through it and are told through it. */
  readonly control: ControlRpc;
  /** Counts these circuits together with those of libp2p. */
  readonly book: CircuitBook;
  readonly limits: Pick<RelayLimits, 'ticketTtlMs' | 'circuitIdleMs'>;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Splices the data sockets of members. It sees ciphertext only and does no cryptography on it. */
export interface RelayService extends Disposable {
  /** Takes a data socket that brought a ticket. */
  accept(socket: Socket, preamble: Extract<DataPreamble, { kind: 'ticket' }>): void;
  /**
   * Asks a member that is connected to this relay to come here itself: resolves with its data socket. For relays that
   * have traffic of their own for a node behind a NAT. Rejects with TunnelError.
   */
  callBack(peerId: string, self: string, signal: AbortSignal): Promise<Socket>;
  status(): RelayStatus;
}

interface Waiting {
  readonly socket: Socket;
  readonly side: 0 | 1;
}

interface CircuitState {
  readonly circuit: Circuit;
  readonly place: CircuitPlace;
  readonly expiry: Timer;
  waiting?: Waiting;
  sockets: Socket[];
}

/** Serves `relay.connect` on the control plane and splices the sockets that come with its tickets. */
export function createRelayService(deps: RelayServiceDeps): RelayService {
  const service = new Service(deps);
  deps.control.handle(RELAY_CONNECT, (peerId, body, signal) => service.connect(peerId, body, signal));
  return service;
}

class Service implements RelayService {
  readonly #deps: RelayServiceDeps;
  readonly #ledger: TicketLedger;
  readonly #circuits = new Map<number, CircuitState>();
  /** Own tickets that members were asked to bring, by hex. */
  readonly #callBacks = new Map<string, (socket: Socket) => void>();
  #disposed = false;

  constructor(deps: RelayServiceDeps) {
    this.#deps = deps;
    this.#ledger = new TicketLedger(deps.limits.ticketTtlMs);
  }

  async connect(caller: string, body: Uint8Array, _signal: AbortSignal): Promise<Uint8Array> {
    const { peerId: callee } = decodeFields(body, 'peerId');
    if (this.#disposed) throw new TunnelError('closed', 'the relay is shutting down');
    if (callee === caller) throw new TunnelError('refused', 'a circuit to oneself');
    const place = this.#deps.book.open('spliced', caller, callee);
    if (typeof place === 'string') {
      throw new TunnelError('limit', `the relay has no circuit to spare (${place}): raise its limit or add a relay`);
    }
    const { circuit, tickets } = this.#ledger.announce(caller, callee, this.#deps.clock.now());
    const expiry = this.#deps.clock.after(this.#deps.limits.ticketTtlMs, () => this.#expire(circuit));
    this.#circuits.set(circuit.id, { circuit, place, expiry, sockets: [] });
    const notice = encodeMessage({ from: caller, ticket: tickets[1].toString('hex') });
    const deadline = AbortSignal.timeout(this.#deps.limits.ticketTtlMs);
    // The caller is answered only after the callee took its ticket: one round trip more, but a dead callee is known at once.
    await this.#deps.control.request(callee, RELAY_INCOMING, notice, deadline).catch((cause: unknown) => {
      this.#expire(circuit);
      throw new TunnelError('unreachable', `the relay has no connection to peer ${callee}`, { retryable: true, cause });
    });
    return encodeMessage({ ticket: tickets[0].toString('hex') });
  }

  accept(socket: Socket, preamble: { readonly ticket: Uint8Array }): void {
    socket.on('error', () => socket.destroy());
    const awaited = this.#callBacks.get(Buffer.from(preamble.ticket).toString('hex'));
    if (awaited !== undefined) {
      awaited(socket);
      return;
    }
    const redeemed = this.#ledger.redeem(preamble.ticket, this.#deps.clock.now());
    const state = typeof redeemed === 'string' ? undefined : this.#circuits.get(redeemed.circuit.id);
    if (typeof redeemed === 'string' || state === undefined || this.#disposed) {
      this.#deps.book.refuse(typeof redeemed === 'string' ? redeemed : 'unknown-ticket');
      socket.destroy();
      return;
    }
    state.sockets.push(socket);
    const other = state.waiting;
    if (other === undefined) {
      state.waiting = { socket, side: redeemed.side };
      socket.once('close', () => {
        if (state.sockets.length === 1) this.#expire(state.circuit);
      });
      return;
    }
    state.expiry.cancel();
    this.#splice(state, redeemed.side === 0 ? [socket, other.socket] : [other.socket, socket]);
  }

  async callBack(peerId: string, self: string, signal: AbortSignal): Promise<Socket> {
    const ticket = randomBytes(TICKET_BYTES);
    const key = ticket.toString('hex');
    const arrived = Promise.withResolvers<Socket>();
    const give = () =>
      arrived.reject(new TunnelError('timeout', `peer ${peerId} did not call back`, { retryable: true }));
    this.#callBacks.set(key, arrived.resolve);
    signal.addEventListener('abort', give, { once: true });
    const notice = encodeMessage({ from: self, ticket: key });
    this.#deps.control.request(peerId, RELAY_INCOMING, notice, signal).catch(arrived.reject);
    try {
      return await arrived.promise;
    } finally {
      this.#callBacks.delete(key);
      signal.removeEventListener('abort', give);
    }
  }

  #splice(state: CircuitState, [caller, callee]: [Socket, Socket]): void {
    const { circuit, place } = state;
    const [from, to] = circuit.peers;
    const flows = spliceSockets(caller, callee, this.#deps.limits.circuitIdleMs, ({ bytesAtoB, bytesBtoA }) => {
      this.#forget(state);
      this.#deps.log.debug('circuit ended', { caller: from, callee: to, bytesAtoB, bytesBtoA });
    });
    place.start(flows);
    this.#deps.log.debug('circuit open', { caller: from, callee: to });
  }

  #expire(circuit: Circuit): void {
    const state = this.#circuits.get(circuit.id);
    if (state === undefined || state.sockets.length === 2) return;
    state.expiry.cancel();
    for (const socket of state.sockets) socket.destroy();
    this.#forget(state);
  }

  #forget({ circuit, place }: CircuitState): void {
    this.#circuits.delete(circuit.id);
    this.#ledger.release(circuit);
    place.end();
  }

  status(): RelayStatus {
    return this.#deps.book.status();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const state of [...this.#circuits.values()]) {
      state.expiry.cancel();
      for (const socket of state.sockets) socket.destroy();
      if (state.sockets.length < 2) this.#forget(state);
    }
  }
}
