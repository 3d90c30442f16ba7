import {
  type ByteStream,
  backoffDelay,
  type Clock,
  type Datagrams,
  type DialOptions,
  detach,
  type Logger,
  MeshError,
  messageOf,
  sleep,
  type Timer,
} from '@edgemesh/core';
import type { PathOptions } from '../options.ts';
import type { Carrier, ControlPlane, NodeRecord, PathKind, PeerStatus, Session } from '../types.ts';
import { initialPathState, type PathEvent, type PathState, type PathTransition, stepPaths } from './machine.ts';
import { type ChannelTarget, WaitingLine } from './waiting-line.ts';

/** Tries one kind of path to a peer, around the address of a path that is not trusted. Rejects with TunnelError. */
export type PathStrategy = (record: NodeRecord, signal: AbortSignal, avoid?: string) => Promise<Carrier>;

/** Part of the session table that a link uses. */
export interface LinkSessions {
  get(peerId: string): Session | undefined;
  reserve(peerId: string, nodeName: string): Session;
  attach(carrier: Carrier, options?: { readonly preferred?: boolean }): Session;
}

export interface PeerLinkDeps {
  readonly control: Pick<ControlPlane, 'resolve' | 'isOnLan' | 'relays'>;
  /** True for relays: members can be asked to connect here. */
  readonly servesRelay: boolean;
  readonly sessions: LinkSessions;
  readonly strategies: Readonly<Partial<Record<PathKind, PathStrategy>>>;
  readonly options: PathOptions;
  readonly clock: Clock;
  readonly log: Logger;
  onTransition(nodeName: string, transition: PathTransition): void;
}

/** Everything towards one node: its record, its session, and the search for the best path. */
export class PeerLink {
  readonly nodeName: string;
  readonly #deps: PeerLinkDeps;
  readonly #abort = new AbortController();
  #record: NodeRecord | undefined;
  #paths: PathState = initialPathState;
  #timer: Timer | undefined;
  readonly #waiting: WaitingLine;
  #resolving = false;
  #reason: string | undefined;
  #lastUsed: number;

  constructor(nodeName: string, deps: PeerLinkDeps) {
    this.nodeName = nodeName;
    this.#deps = deps;
    this.#waiting = new WaitingLine(nodeName, deps.options.maxWaitingStreams);
    this.#lastUsed = deps.clock.now();
  }

  get peerId(): string | undefined {
    return this.#record?.peerId;
  }

  dial(target: ChannelTarget, options?: DialOptions): ByteStream {
    const session = this.#use();
    if (session !== undefined) return session.dial(target, options);
    const stream = this.#waiting.dial(target, options);
    this.#find();
    return stream;
  }

  openDatagrams(target: ChannelTarget, options?: DialOptions): Datagrams {
    const session = this.#use();
    if (session !== undefined) return session.openDatagrams(target, options);
    const channel = this.#waiting.openDatagrams(target, options);
    this.#find();
    return channel;
  }

  /** The session to dial on, and a nudge to the path search; undefined while the node's record is not known. */
  #use(): Session | undefined {
    this.#lastUsed = this.#deps.clock.now();
    if (this.#record === undefined) return undefined;
    const session = this.#deps.sessions.reserve(this.#record.peerId, this.nodeName);
    this.#want();
    return session;
  }

  /** Starts the search, also on the side that was called: it may have a better way to the caller than the caller to it. */
  #want(): void {
    if (this.#paths.wanted || this.#record === undefined) return;
    this.#feed({ type: 'wanted', onLan: this.#deps.control.isOnLan(this.#record.peerId) });
  }

  /** Looks for the node's record, once at a time. */
  #find(): void {
    if (this.#abort.signal.aborted) this.#waiting.failAll(closing());
    if (this.#abort.signal.aborted || this.#record !== undefined || this.#resolving) return;
    this.#resolving = true;
    detach('resolve node', this.#deps.log, this.#resolve());
  }

  async #resolve(): Promise<void> {
    const { clock, control } = this.#deps;
    const { resolveTimeoutMs } = this.#deps.options;
    const deadline = clock.now() + resolveTimeoutMs;
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(resolveTimeoutMs)]);
    let why = 'no relay and nobody on the LAN knows it';
    for (let attempt = 0; this.#record === undefined && clock.now() < deadline && !signal.aborted; attempt++) {
      try {
        const record = await control.resolve(this.nodeName, signal);
        if (record !== undefined) this.learn(record);
      } catch (error) {
        why = messageOf(error);
      }
      if (this.#record === undefined)
        await sleep(backoffDelay(attempt, { initialMs: 100, maxMs: 1_000 }), clock, signal);
    }
    this.#resolving = false;
    this.#flush(why);
  }

  /** Takes in a newer record of this node. */
  learn(record: NodeRecord): void {
    if (this.#record !== undefined && record.sequence < this.#record.sequence) return;
    const moved = this.#record !== undefined && whereabouts(this.#record) !== whereabouts(record);
    this.#record = record;
    this.#feed({ type: 'candidates', kinds: this.#candidates(record) });
    if (moved) this.#feed({ type: 'changed' });
    this.#flush('');
  }

  /** Relays or the own network changed: what failed may work now. */
  networkChanged(): void {
    if (this.#record === undefined) return;
    this.#feed({ type: 'candidates', kinds: this.#candidates(this.#record) });
    this.#feed({ type: 'changed' });
  }

  #candidates(record: NodeRecord): PathKind[] {
    const possible: Record<PathKind, boolean> = {
      lan: record.lanAddresses.length > 0,
      direct: record.publicAddresses.length > 0 || this.#deps.servesRelay,
      punched: record.capabilities.includes('punch'),
      relayed: this.#deps.control.relays().length > 0,
      circuit: this.#deps.control.relays().length > 0,
    };
    return (Object.keys(possible) as PathKind[]).filter(
      (kind) => possible[kind] && this.#deps.strategies[kind] !== undefined,
    );
  }

  /** Binds what waits to the session, or ends it when the node was not found. */
  #flush(why: string): void {
    if (this.#waiting.length === 0 || (this.#record === undefined && this.#resolving)) return;
    if (this.#record === undefined) this.#reason = `node ${this.nodeName} is unknown: ${why}`;
    let session: Session | undefined;
    try {
      session = this.#use();
    } catch (error) {
      this.#reason = messageOf(error); // the session table is full
    }
    if (session !== undefined) {
      this.#waiting.bindAll(session);
      return;
    }
    const advice = 'Is its agent running, with the same mesh secret and a relay in common?';
    const message = `${this.#reason ?? 'the node is unknown'}. ${advice}`;
    this.#waiting.failAll(new MeshError('unknown-node', message, { retryable: true }));
  }

  /** A peer that called is known by its session; its record tells where else it may be reached. */
  introduce(): void {
    this.#find();
  }

  /** Brings the machine in line with what the session table says; called on each change of this peer's session. */
  reconcile(reason = 'connection lost'): void {
    const active = this.#record && this.#deps.sessions.get(this.#record.peerId)?.carrier?.path;
    if (active === this.#paths.active) return;
    if (active !== undefined && !this.#paths.wanted) this.#want();
    if (active === undefined) this.#feed({ type: 'down', reason });
    else this.#feed({ type: this.#paths.active === undefined ? 'up' : 'moved', kind: active });
  }

  /** The path in use is late with its answers, or its network interface has gone: look for another beside it. */
  suspect(): void {
    this.#feed({ type: 'suspect' });
  }

  trust(): void {
    this.#feed({ type: 'trusted' });
  }

  /** Called now and then: stops the search when nothing is open or waiting. Returns how long the link is unused, in milliseconds. */
  sweep(): number {
    const now = this.#deps.clock.now();
    const session = this.#record && this.#deps.sessions.get(this.#record.peerId);
    if (this.#waiting.length > 0 || (session?.stats().streams ?? 0) > 0) {
      this.#lastUsed = now;
      this.#want();
    } else if (this.#paths.wanted && this.#paths.active !== undefined) {
      this.#feed({ type: 'idle' });
    }
    return now - this.#lastUsed;
  }

  #feed(event: PathEvent): void {
    if (this.#abort.signal.aborted) return;
    const { options, clock } = this.#deps;
    const step = stepPaths(this.#paths, event, clock.now(), options);
    this.#paths = step.state;
    if (step.transition !== undefined) {
      this.#reason = step.transition.to === undefined ? step.transition.reason : undefined;
      this.#deps.onTransition(this.nodeName, step.transition);
    }
    this.#timer?.cancel();
    this.#timer =
      step.nextDeadline === undefined
        ? undefined
        : clock.after(Math.max(1, step.nextDeadline - clock.now()), () => this.#feed({ type: 'tick' }));
    for (const kind of step.start) detach('attempt path', this.#deps.log, this.#attempt(kind));
  }

  async #attempt(kind: PathKind): Promise<void> {
    const record = this.#record;
    const strategy = this.#deps.strategies[kind];
    if (record === undefined || strategy === undefined) return;
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(this.#deps.options.attemptTimeoutMs)]);
    try {
      const avoid = this.#paths.suspect ? this.#deps.sessions.get(record.peerId)?.carrier?.remoteAddress : undefined;
      const carrier = await strategy(record, signal, avoid);
      this.#deps.sessions.attach(carrier, { preferred: this.#paths.suspect });
      this.#feed({ type: 'reached', kind });
      this.reconcile();
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const reason = messageOf(error);
      if (this.#paths.active === undefined) this.#reason = `${kind}: ${reason}`;
      this.#deps.log.debug('path failed', { node: this.nodeName, path: kind, reason });
      this.#feed({ type: 'failed', kind, reason });
    }
  }

  status(): PeerStatus {
    const session = this.#record && this.#deps.sessions.get(this.#record.peerId);
    const stats = session?.stats();
    const searching = this.#paths.wanted && Object.values(this.#paths.tries).some((t) => t.trying);
    return {
      node: this.nodeName,
      peerId: this.#record?.peerId ?? '',
      path: session?.carrier?.path,
      state:
        session?.state === 'active' ? 'active' : searching ? 'connecting' : this.#paths.wanted ? 'failed' : 'suspended',
      rttMs: stats?.rttMs,
      address: session?.carrier?.remoteAddress,
      bytesIn: stats?.bytesIn ?? 0,
      bytesOut: stats?.bytesOut ?? 0,
      streams: stats?.streams ?? 0,
      reason: this.#reason,
    };
  }

  close(): void {
    this.#abort.abort(closing());
    this.#timer?.cancel();
    this.#waiting.failAll(closing());
  }
}

/** What of a record decides about paths; its sequence number grows without any change. */
function whereabouts({ peerId, lanAddresses, publicAddresses, relays, capabilities }: NodeRecord): string {
  return JSON.stringify([peerId, lanAddresses, publicAddresses, relays, capabilities]);
}

function closing(): MeshError {
  return new MeshError('shutdown', 'the tunnel is closing');
}
