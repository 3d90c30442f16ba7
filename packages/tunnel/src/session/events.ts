import type { Clock, Logger } from '@edgemesh/core';
import type { TunnelError } from '../errors.ts';
import type { Carrier, InboundHandler, Session } from '../types.ts';
import type { SessionAccounts } from './limits.ts';

/** What happened to a session; for logs, status and the path machine. */
export type SessionEvent =
  | { readonly type: 'opened' | 'resumed' | 'switched'; readonly session: Session; readonly carrier: Carrier }
  | { readonly type: 'suspended'; readonly session: Session; readonly reason: string }
  /** The carrier in use does not answer in its usual time; `trusted` when it does again, or another has taken over. */
  | { readonly type: 'suspect' | 'trusted'; readonly session: Session }
  | {
      readonly type: 'carrier-lost';
      readonly session: Session;
      readonly carrier: Carrier;
      readonly reason: TunnelError;
    }
  | { readonly type: 'restarted'; readonly session: Session }
  | { readonly type: 'closed'; readonly session: Session; readonly reason: string };

/** What all sessions of a table share. */
export interface SessionShared {
  readonly localPeerId: string;
  readonly inbound: InboundHandler;
  readonly accounts: SessionAccounts;
  readonly clock: Clock;
  readonly log: Logger;
  onEvent(event: SessionEvent): void;
  onClosed(session: Session): void;
}
