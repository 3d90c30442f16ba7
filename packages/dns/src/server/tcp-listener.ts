import { createServer, type Server, type Socket } from 'node:net';
import type { Clock, Timer } from '@edgemesh/core';
import type { Limits } from '../options.ts';
import { MAX_MESSAGE_BYTES } from '../wire/constants.ts';
import { createDeframer, frame } from '../wire/framing.ts';
import { createQueryView, DROP, parseQuery } from '../wire/query.ts';
import type { Listener, ListenerDeps } from './udp-listener.ts';

interface Client {
  readonly socket: Socket;
  readonly address: string;
  /** When the last whole message came or the last reply went. */
  activeAt: number;
  unanswered: number;
  ended: boolean;
}

/** Binds and answers, pipelined and out of order (RFC 7766). Rejects with the system's error when the bind fails. */
export function openTcpListener(
  address: string,
  port: number,
  deps: ListenerDeps & { readonly clock: Clock },
): Promise<Listener> {
  const clients = new Set<Client>();
  const perAddress = new Map<string, number>();
  const gauge = deps.metrics.tcpConnections.with(address);
  const server = createServer({ allowHalfOpen: true, noDelay: true });

  server.on('connection', (socket) => {
    const from = socket.remoteAddress;
    if (from === undefined || !admit(deps, clients.size, perAddress.get(from) ?? 0)) {
      socket.destroy();
      return;
    }
    const client: Client = { socket, address: from, activeAt: deps.clock.now(), unanswered: 0, ended: false };
    clients.add(client);
    perAddress.set(from, (perAddress.get(from) ?? 0) + 1);
    gauge.set(clients.size);
    socket.on('close', () => {
      clients.delete(client);
      const left = (perAddress.get(from) ?? 1) - 1;
      if (left > 0) perAddress.set(from, left);
      else perAddress.delete(from);
      gauge.set(clients.size);
    });
    converse(client, deps);
  });

  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address, port, ipv6Only: address.includes(':') }, () => {
      server.removeListener('error', reject);
      const sweeper = sweepIdle(clients, deps.limits, deps.clock);
      const stop = () => {
        sweeper.cancel();
        for (const client of clients) client.socket.destroy();
      };
      server.on('error', (error) => {
        stop();
        server.close();
        deps.onLost(error);
      });
      const bound = server.address();
      const boundPort = typeof bound === 'object' && bound !== null ? bound.port : port;
      resolve({ address, port: boundPort, close: () => closeServer(server, stop) });
    });
  });
}

function admit(deps: ListenerDeps, total: number, ofClient: number): boolean {
  const { limits, metrics } = deps;
  if (total < limits.maxTcpConnections && ofClient < limits.maxTcpPerClient) return true;
  metrics.limited.with('tcp-connections').add();
  return false;
}

/** Reads messages, answers each when its answer is there, and holds back a client that does not read or asks too much. */
function converse(client: Client, deps: ListenerDeps & { readonly clock: Clock }): void {
  const { socket } = client;
  const { resolver, limits, clock } = deps;
  const queries = deps.metrics.queries.with('tcp');
  const dropped = deps.metrics.dropped.with('not-a-query');
  const view = createQueryView();
  const deframer = createDeframer();

  let pumping = false;
  /** Takes messages as long as the client may have more of them under way; reading stops meanwhile. */
  const pump = () => {
    // A reply that is there at once comes back in here.
    if (pumping) return;
    pumping = true;
    const busy = () => client.unanswered >= limits.maxTcpPipeline || socket.writableNeedDrain;
    socket.cork();
    while (!busy() && !socket.destroyed) {
      const message = deframer.next();
      if (message === undefined) break;
      receive(message);
    }
    socket.uncork();
    pumping = false;
    if (busy()) socket.pause();
    else socket.resume();
    if (client.ended && client.unanswered === 0) socket.end();
  };
  const send = (reply: Buffer) => {
    client.unanswered--;
    client.activeAt = clock.now();
    if (socket.writable) socket.write(frame(reply));
    pump();
  };
  const receive = (message: Buffer) => {
    const verdict = parseQuery(message, view);
    if (verdict === DROP) {
      // A stream that carries something else than queries is not worth reading on.
      dropped.add();
      socket.destroy();
      return;
    }
    queries.add();
    client.activeAt = clock.now();
    client.unanswered++;
    const reply = resolver.answerNow(message, view, verdict, MAX_MESSAGE_BYTES, client.address);
    if (reply !== undefined) return send(reply);
    resolver.answerLater(Buffer.from(message), view, MAX_MESSAGE_BYTES, client.address, send);
  };

  socket.on('data', (chunk) => {
    deframer.push(chunk);
    pump();
  });
  socket.on('drain', pump);
  socket.on('end', () => {
    client.ended = true;
    pump();
  });
  // A reset is the client's way to leave; 'close' follows and settles everything.
  socket.on('error', () => socket.destroy());
}

/** Closes clients that have been silent for too long and owe us nothing to wait for. */
function sweepIdle(clients: ReadonlySet<Client>, limits: Limits, clock: Clock): Timer {
  let timer: Timer;
  const sweep = () => {
    const oldest = clock.now() - limits.tcpIdleMs;
    for (const client of clients) {
      const stuck = client.socket.writableNeedDrain;
      if (client.activeAt <= oldest && (client.unanswered === 0 || stuck)) client.socket.destroy();
    }
    timer = clock.after(Math.min(1_000, limits.tcpIdleMs / 2), sweep);
  };
  timer = clock.after(Math.min(1_000, limits.tcpIdleMs / 2), sweep);
  return { cancel: () => timer.cancel() };
}

function closeServer(server: Server, stop: () => void): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    stop();
  });
}
