import { PROXY_DEFAULTS } from './options.ts';

/** Limits of connections at once. */
export interface ConnectionBudgetOptions {
  /** Connections at once. Default 8,192. */
  readonly maxConnections?: number;
  /** Connections at once of one client address. Default 4,096. */
  readonly maxConnectionsPerClient?: number;
}

/** Counts connections against limits; listeners may share one. */
export interface ConnectionBudget {
  readonly active: number;
  /** Takes a place, or says which limit is in the way. */
  take(clientAddress: string): 'ok' | 'limit' | 'client-limit';
  /** Gives a taken place back. */
  release(clientAddress: string): void;
}

/** Makes a budget; its memory is bounded by the connections that hold a place. */
export function createConnectionBudget(options: ConnectionBudgetOptions = {}): ConnectionBudget {
  const max = options.maxConnections ?? PROXY_DEFAULTS.maxConnections;
  const maxPerClient = options.maxConnectionsPerClient ?? PROXY_DEFAULTS.maxConnectionsPerClient;
  const clients = new Map<string, number>();
  let active = 0;
  return {
    get active() {
      return active;
    },
    take(clientAddress) {
      const own = clients.get(clientAddress) ?? 0;
      if (active >= max) return 'limit';
      if (own >= maxPerClient) return 'client-limit';
      active++;
      clients.set(clientAddress, own + 1);
      return 'ok';
    },
    release(clientAddress) {
      active--;
      const own = clients.get(clientAddress) ?? 0;
      if (own <= 1) clients.delete(clientAddress);
      else clients.set(clientAddress, own - 1);
    },
  };
}
