import { randomBytes } from 'node:crypto';
import { type Clock, detach, type Logger, type Metrics, messageOf, type Random, type Timer } from '@edgemesh/core';
import { type ManagedControlPlane, TICKET_BYTES } from '../control/index.ts';
import { formatAddress } from '../paths/connect.ts';
import { mapPorts } from '../punch/mappings.ts';
import type { NatKind } from '../punch/nat-kind.ts';
import { parseObserved } from '../punch/observe.ts';
import type { SocketAddress } from '../types.ts';
import { triedIn } from './dial-back.ts';
import type { ReachOptions } from './options.ts';
import { encodeProbes, REACH_PROBE } from './probe-message.ts';

/** Whether relays can dial this node: what AutoNAT calls its verdict. */
export type Reachability = 'unknown' | 'public' | 'private';

/** What is between this node and the others, as relays see it. */
export interface NatStatus {
  /** Undefined until a relay was asked. */
  readonly kind: NatKind | undefined;
  readonly reachability: Reachability;
  /** Addresses that a relay has dialled with success. */
  readonly confirmed: readonly SocketAddress[];
}

export interface NatWatchDeps {
  readonly control: Pick<ManagedControlPlane, 'relays' | 'request' | 'observedAddresses'>;
  /** Addresses of ours that may be reachable: the record's, and the router's mapping. */
  candidates(): readonly SocketAddress[];
  /** Our TCP port, which an operator may have forwarded. */
  readonly port: number;
  /** Called when something has changed. */
  onChange(status: NatStatus): void;
  readonly options: ReachOptions;
  readonly clock: Clock;
  readonly random?: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
}

const KINDS: readonly NatKind[] = ['none', 'port-preserving', 'endpoint-independent', 'symmetric', 'unknown'];
const VERDICTS: readonly Reachability[] = ['unknown', 'public', 'private'];
/** Relays that are asked to dial back. */
const MAX_RELAYS = 2;

/** Asks relays how we look from there, and whether we can be dialled: after each change, and now and then. */
export class NatWatch implements Disposable {
  readonly #deps: NatWatchDeps;
  readonly #abort = new AbortController();
  /** Tickets that relays were asked to bring, by hex. */
  readonly #tickets = new Map<string, SocketAddress>();
  readonly #arrived = new Map<string, SocketAddress>();
  readonly #show: (status: NatStatus) => void;
  #status: NatStatus = { kind: undefined, reachability: 'unknown', confirmed: [] };
  #timer: Timer | undefined;
  #isChecking = false;
  /** Another look was asked for during this one. */
  #isDue = false;
  /** The last look did not confirm what the ones before had. */
  #doubtful = false;

  constructor(deps: NatWatchDeps) {
    this.#deps = deps;
    this.#show = createGauges(deps.metrics);
    this.#show(this.#status);
  }

  status(): NatStatus {
    return this.#status;
  }

  /** A punch has seen the NAT, too. */
  noteKind(kind: NatKind): void {
    this.#set({ ...this.#status, kind: this.#judge(kind) });
  }

  /** Another network has another NAT. */
  networkChanged(): void {
    this.#set({ ...this.#status, kind: undefined });
    this.changed();
  }

  /** Relays or port mapping have changed: what was found may be wrong by now. */
  changed(): void {
    const { settleMs } = this.#deps.options;
    this.#schedule(settleMs + settleMs * (this.#deps.random ?? Math.random)());
  }

  /** A data socket brings this ticket; true when it is one that we sent out. */
  take(ticket: Uint8Array): boolean {
    const address = this.#tickets.get(Buffer.from(ticket).toString('hex'));
    if (address === undefined) return false;
    this.#arrived.set(formatAddress(address), address);
    return true;
  }

  #schedule(ms: number): void {
    this.#timer?.cancel();
    if (this.#abort.signal.aborted) return;
    this.#timer = this.#deps.clock.after(ms, () => {
      this.#isDue = this.#isChecking;
      if (!this.#isChecking) detach('look from outside', this.#deps.log, this.#checkOnce());
    });
  }

  /** One look at a time; what changes meanwhile asks for another. */
  async #checkOnce(): Promise<void> {
    this.#isChecking = true;
    try {
      await this.#check();
    } finally {
      this.#isChecking = false;
      if (this.#isDue) this.changed();
      this.#isDue = false;
    }
  }

  async #check(): Promise<void> {
    const { options, log } = this.#deps;
    this.#schedule(options.intervalMs);
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(options.timeoutMs)]);
    const [kind, found] = await Promise.all([this.#lookAtNat(signal), this.#askBack(signal)]);
    if (this.#abort.signal.aborted) return;
    if (found === undefined) {
      this.#set({ ...this.#status, kind: this.#judge(kind) });
      return;
    }
    const lost = this.#status.confirmed.some((old) => !found.confirmed.some((now) => isSame(old, now)));
    if (lost && !this.#doubtful) {
      log.debug('an address was not reached, asking again', { addresses: this.#status.confirmed.map(formatAddress) });
      this.#schedule(options.doubtMs);
    } else {
      this.#set({ kind: this.#judge(kind), ...found });
    }
    this.#doubtful = lost && !this.#doubtful;
  }

  /** One relay cannot tell what two have seen, and no relay nothing. */
  #judge(seen: NatKind | undefined): NatKind | undefined {
    const { kind } = this.#status;
    return seen === undefined || (seen === 'unknown' && kind === 'symmetric') ? kind : seen;
  }

  async #lookAtNat(signal: AbortSignal): Promise<NatKind | undefined> {
    try {
      using ports = await mapPorts({ counts: { 4: 1 }, relays: this.#deps.control.relays(), ipv6: undefined, signal });
      return ports.natKind;
    } catch {
      return undefined; // no relay is connected, or none answers: its own state says why
    }
  }

  /** Has relays dial our addresses; undefined when none has tried: that says nothing. */
  async #askBack(signal: AbortSignal): Promise<Omit<NatStatus, 'kind'> | undefined> {
    const { control, log } = this.#deps;
    const relays = control.relays().filter((relay) => relay.state === 'connected');
    this.#tickets.clear();
    this.#arrived.clear();
    let tried = 0;
    for (const { peerId } of relays.slice(0, MAX_RELAYS)) {
      if (peerId === undefined) continue;
      const probes = this.#addressesFor(peerId).map((address) => ({ address, ticket: randomBytes(TICKET_BYTES) }));
      for (const { address, ticket } of probes) this.#tickets.set(ticket.toString('hex'), address);
      try {
        tried += triedIn(await control.request(peerId, REACH_PROBE, encodeProbes(probes), signal));
      } catch (error) {
        log.debug('a relay does not dial back', { relay: peerId, error: messageOf(error) });
      }
    }
    const confirmed = [...this.#arrived.values()];
    if (confirmed.length > 0) return { confirmed, reachability: 'public' };
    return tried === 0 ? undefined : { confirmed, reachability: 'private' };
  }

  /** A relay dials nothing but the host that it sees us at. */
  #addressesFor(relay: string): SocketAddress[] {
    const { candidates, control, options, port } = this.#deps;
    const seen = control.observedAddresses().find((observed) => observed.relay === relay);
    const host = seen && parseObserved(seen.address)?.host;
    if (host === undefined) return [];
    const found = new Map([[port, { host, port }]]);
    for (const address of candidates()) if (address.host === host) found.set(address.port, address);
    return [...found.values()].slice(0, options.maxAddresses);
  }

  #set(status: NatStatus): void {
    const before = JSON.stringify(this.#status);
    this.#status = status;
    if (JSON.stringify(status) === before) return;
    this.#show(status);
    const { kind, reachability, confirmed } = status;
    this.#deps.log.info('seen from outside', {
      nat: kind,
      reachability,
      confirmed: confirmed.map(formatAddress).join(),
    });
    this.#deps.onChange(status);
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
    this.#timer?.cancel();
  }
}

function isSame(a: SocketAddress, b: SocketAddress): boolean {
  return a.host === b.host && a.port === b.port;
}

/** One gauge per kind and verdict; the one that holds is 1. */
function createGauges(metrics: Metrics): (status: NatStatus) => void {
  const nat = metrics.gauge({
    name: 'edgemesh_tunnel_nat',
    help: 'What is between this node and its relays: 1 for the kind that holds.',
    labels: ['kind'],
  });
  const reach = metrics.gauge({
    name: 'edgemesh_tunnel_reachability',
    help: 'Whether relays can dial this node: 1 for the verdict that holds.',
    labels: ['verdict'],
  });
  return ({ kind = 'unknown', reachability }) => {
    for (const each of KINDS) nat.with(each).set(each === kind ? 1 : 0);
    for (const each of VERDICTS) reach.with(each).set(each === reachability ? 1 : 0);
  };
}
