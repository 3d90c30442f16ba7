import type { HttpProxyError } from './errors.ts';
import type { ClientInfo, Downstream } from './message.ts';
import type { HttpLimits } from './options.ts';
import type { Sweeper } from './sweeper.ts';

/** What a server connection needs of its owner. */
export interface ServerConnectionContext {
  readonly limits: HttpLimits;
  readonly sweeper: Sweeper;
  onRequest(exchange: Downstream): void;
  /** A request that was refused before it became an exchange. */
  onMalformed(error: HttpProxyError, client: ClientInfo): void;
  onClosed(connection: ServerConnection): void;
}

/** A client connection of either protocol. */
export interface ServerConnection {
  /** No further requests; closes when the current ones are answered. */
  drain(): void;
  destroy(): void;
}
