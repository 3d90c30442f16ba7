import { type Clock, type Logger, type Metrics, noMetrics, silentLogger, systemClock } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { NodeIdentity } from '../identity/node-key.ts';
import { type SessionOptions, sessionDefaults } from '../options.ts';
import type { Carrier, InboundHandler, Session } from '../types.ts';
import type { SessionEvent, SessionShared } from './events.ts';
import { SessionAccounts } from './limits.ts';
import type { CarrierLink } from './link.ts';
import { PeerSession } from './session.ts';

export interface SessionTableOptions {
  readonly identity: Pick<NodeIdentity, 'peerId'>;
  readonly nodeName: string;
  /** Decides what peers may open here. */
  readonly inbound: InboundHandler;
  readonly options?: Partial<SessionOptions> | undefined;
  readonly log?: Logger | undefined;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock | undefined;
  readonly onEvent?: ((event: SessionEvent) => void) | undefined;
}

export interface AttachOptions {
  /** Move to this carrier even where its path does not look better, for example from one relay to a nearer one. */
  readonly preferred?: boolean;
}

/** All sessions of a node, one per peer. */
export interface SessionTable extends AsyncDisposable {
  /**
   * Hands a carrier over: opens a session with its peer, or resumes or moves the one there is. The table closes the
   * carrier when another one is in use. Throws TunnelError `closed` or `limit` (carrier closed).
   */
  attach(carrier: Carrier, options?: AttachOptions): Session;
  get(peerId: string): Session | undefined;
  sessions(): Session[];
  /** The session with a peer, or a suspended one on which streams may be dialled before the first carrier comes. */
  reserve(peerId: string, nodeName: string): Session;
  /** Closes the session with a peer, where there is one; its streams end with `shutdown`. */
  close(peerId: string, reason?: string): void;
  /** Our own network has changed: each session asks for an answer now. */
  probe(): void;
  /** Called when a session was opened, suspended, resumed, moved or closed. Returns the way to stop it. */
  onStateChange(listener: (session: Session) => void): () => void;
}

export function createSessionTable(options: SessionTableOptions): SessionTable {
  return new Table(options);
}

class Table implements SessionTable {
  private readonly peers = new Map<string, PeerSession>();
  private readonly listeners = new Set<(session: Session) => void>();
  private readonly accounts: SessionAccounts;
  private readonly shared: SessionShared;
  private readonly log: Logger;
  private readonly report: ((event: SessionEvent) => void) | undefined;
  private disposed = false;

  constructor(options: SessionTableOptions) {
    const { identity, inbound, log = silentLogger, metrics = noMetrics, clock = systemClock } = options;
    this.log = log;
    this.report = options.onEvent;
    this.accounts = new SessionAccounts({ ...sessionDefaults, ...options.options }, metrics);
    this.shared = {
      localPeerId: identity.peerId,
      inbound,
      accounts: this.accounts,
      clock,
      log,
      onEvent: (event) => this.onEvent(event),
      onClosed: (session) => {
        if (this.peers.get(session.peerId) === session) this.peers.delete(session.peerId);
        this.accounts.sessions.set(this.peers.size);
      },
    };
  }

  attach(carrier: Carrier, options: AttachOptions = {}): Session {
    const link = carrier as CarrierLink;
    try {
      const session = this.open(carrier.peerId, carrier.nodeName);
      session.attach(link, options.preferred ?? false);
      return session;
    } catch (error) {
      if (error instanceof TunnelError) link.close(error.code, error.message);
      throw error;
    }
  }

  get(peerId: string): Session | undefined {
    return this.peers.get(peerId);
  }

  sessions(): Session[] {
    return [...this.peers.values()];
  }

  reserve(peerId: string, nodeName: string): Session {
    return this.open(peerId, nodeName);
  }

  close(peerId: string, reason = 'the session is not needed any more'): void {
    this.peers.get(peerId)?.close('shutdown', reason);
  }

  probe(): void {
    for (const session of this.peers.values()) session.probe();
  }

  onStateChange(listener: (session: Session) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
    for (const session of [...this.peers.values()]) session.close('shutdown', 'the node is stopping');
    this.listeners.clear();
  }

  private open(peerId: string, nodeName: string): PeerSession {
    const existing = this.peers.get(peerId);
    if (existing !== undefined) return existing;
    if (this.disposed) throw new TunnelError('closed', 'the tunnel is shutting down');
    if (peerId === this.shared.localPeerId) throw new TunnelError('identity', 'this is our own node key');
    const { maxSessions } = this.accounts.options;
    if (this.peers.size >= maxSessions) {
      this.accounts.refuse('maxSessions');
      throw new TunnelError('limit', `maxSessions (${maxSessions}) is reached`);
    }
    const session = new PeerSession(this.shared, peerId, nodeName);
    this.peers.set(peerId, session);
    this.accounts.sessions.set(this.peers.size);
    return session;
  }

  private onEvent(event: SessionEvent): void {
    const { type, session } = event;
    const path = 'carrier' in event ? event.carrier.path : undefined;
    const reason = 'reason' in event ? event.reason : undefined;
    const isDetail = type === 'carrier-lost' || type === 'suspect' || type === 'trusted';
    this.log[isDetail ? 'debug' : 'info'](`session ${type}`, {
      node: session.nodeName,
      peer: session.peerId,
      ...(path && { path }),
      ...(reason && { reason: typeof reason === 'string' ? reason : reason.message }),
    });
    this.report?.(event);
    if (isDetail) return;
    for (const listener of [...this.listeners]) listener(session);
  }
}
