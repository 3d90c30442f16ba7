import { createSocket, type Socket } from 'node:dgram';
import type { DnsMetrics } from '../metrics.ts';
import type { Limits } from '../options.ts';
import type { Resolver } from '../resolve/resolver.ts';
import { createQueryView, DROP, parseQuery } from '../wire/query.ts';
import { udpLimit } from '../wire/reply.ts';
import { numericLookup } from './numeric-lookup.ts';

/** A bound socket of either transport. */
export interface Listener {
  readonly address: string;
  readonly port: number;
  /** Closes; the callback of the opener is not called. */
  close(): Promise<void>;
}

export interface ListenerDeps {
  readonly resolver: Resolver;
  readonly limits: Limits;
  readonly metrics: DnsMetrics;
  /** The listener failed after it was bound and is closed. */
  readonly onLost: (error: Error) => void;
}

/** Binds and answers. Rejects with the system's error when the bind fails. */
export function openUdpListener(address: string, port: number, deps: ListenerDeps): Promise<Listener> {
  const socket = createSocket({
    // The kernel refuses the flag for IPv4 (EINVAL).
    ...(address.includes(':') ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' }),
    lookup: numericLookup,
    recvBufferSize: deps.limits.udpReceiveBytes,
  });
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind(port, address, () => {
      socket.removeAllListeners('error');
      serve(socket, deps);
      resolve({ address, port: socket.address().port, close: () => closeSocket(socket) });
    });
  });
}

function serve(socket: Socket, deps: ListenerDeps): void {
  const { resolver, metrics } = deps;
  const { maxUdpPayload } = deps.limits;
  const queries = metrics.queries.with('udp');
  const dropped = metrics.dropped.with('not-a-query');
  const view = createQueryView();
  let open = true;
  socket.on('error', (error) => {
    if (!open) return;
    open = false;
    socket.close();
    deps.onLost(error);
  });
  socket.on('close', () => {
    open = false;
  });
  socket.on('message', (message, { address, port }) => {
    const verdict = parseQuery(message, view);
    if (verdict === DROP || port === 0) {
      dropped.add();
      return;
    }
    queries.add();
    const limit = udpLimit(view, maxUdpPayload);
    const reply = resolver.answerNow(message, view, verdict, limit, address);
    if (reply !== undefined) {
      socket.send(reply, port, address);
      return;
    }
    resolver.answerLater(message, view, limit, address, (later) => {
      if (open) socket.send(later, port, address);
    });
  });
}

function closeSocket(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    try {
      socket.close();
    } catch {
      // Closed already, by its own failure: there is nothing left to wait for.
      resolve();
    }
  });
}
