import type { Socket } from 'node:net';
import {
  type ByteSink,
  type ByteStream,
  type Clock,
  type Dialer,
  type Logger,
  MeshError,
  type Metrics,
  noMetrics,
  silentLogger,
  splice,
  systemClock,
} from '@edgemesh/core';
import { createConnectionBudget } from '../connection-budget.ts';
import { type DialUpstreamOptions, dialUpstream } from '../dial-upstream.ts';
import { createProxyMetrics, type ProxyMetrics } from '../metrics.ts';
import { PROXY_DEFAULTS } from '../options.ts';
import { abort, socketByteStream } from '../sockets/socket-stream.ts';
import { createTcpListener, type TcpListener, type TcpListenerOptions } from '../tcp-listener.ts';
import type { ClientAddress, Upstream } from '../upstream.ts';
import {
  type CredentialCheck,
  createSocks5Handshake,
  encodeReply,
  REPLY,
  type ReplyCode,
  replyFor,
  type Socks5Request,
} from './handshake.ts';

/** Where a request may go: an upstream, or the reason why not. */
export type Socks5Resolution =
  | { readonly kind: 'upstream'; readonly upstream: Upstream }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'forbidden' };

/** Where a SOCKS5 server listens, and its limits. */
export interface Socks5ServerOptions extends TcpListenerOptions, DialUpstreamOptions {
  /** Milliseconds for a client to say what it wants. Default 10,000. */
  readonly handshakeTimeoutMs?: number;
  /** Connections at once. Default 1,024. */
  readonly maxConnections?: number;
  readonly maxConnectionsPerClient?: number;
}

/** What a SOCKS5 server works with. */
export interface Socks5ServerDeps {
  /** Says where a request goes. Called synchronously. */
  readonly resolve: (request: Socks5Request, client: ClientAddress) => Socks5Resolution;
  readonly dialer: Dialer;
  /** Where given, clients must present credentials that it accepts. */
  readonly checkCredentials?: CredentialCheck;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

interface Context {
  readonly options: Socks5ServerOptions;
  readonly deps: Socks5ServerDeps & { readonly log: Logger; readonly clock: Clock };
  readonly metrics: ProxyMetrics;
}

/** A SOCKS5 listener; disposing it drains like a TCP proxy. */
export type Socks5Server = TcpListener;

/** Starts a SOCKS5 server (RFC 1928 CONNECT, RFC 1929). Resolves once it listens; rejects with {@link ProxyError}. */
export function createSocks5Server(options: Socks5ServerOptions, deps: Socks5ServerDeps): Promise<Socks5Server> {
  const metrics = createProxyMetrics(deps.metrics ?? noMetrics);
  const context: Context = { options, deps: { log: silentLogger, clock: systemClock, ...deps }, metrics };
  const { log, clock } = context.deps;
  const budget = createConnectionBudget({
    maxConnections: options.maxConnections ?? PROXY_DEFAULTS.maxSocksConnections,
    ...(options.maxConnectionsPerClient !== undefined && { maxConnectionsPerClient: options.maxConnectionsPerClient }),
  });
  return createTcpListener(options, {
    budget,
    metrics,
    log,
    clock,
    handle: ({ socket, client }) => serve(socket, client, context),
  });
}

/** Shakes hands on the raw socket, then hands it to the splice. Each connection has a state of its own and shares none. */
function serve(socket: Socket, client: ClientAddress, context: Context): (error: MeshError) => void {
  const { deps, options, metrics } = context;
  const handshake = createSocks5Handshake(deps.checkCredentials);
  const timeoutMs = options.handshakeTimeoutMs ?? PROXY_DEFAULTS.socksHandshakeMs;
  const timer = deps.clock.after(timeoutMs, () => {
    metrics.socksRequest('handshake-timeout');
    abort(socket);
  });
  socket.once('close', () => timer.cancel());
  socket.setNoDelay(true);
  let stop: (error: MeshError) => void = () => abort(socket);

  const onEnd = () => socket.destroy();
  const onData = (chunk: Uint8Array) => {
    const step = handshake.feed(chunk);
    if (step.failed !== undefined) {
      metrics.socksRequest(step.failed);
      refuse(socket, step.send);
      return;
    }
    if (step.send !== undefined) socket.write(step.send);
    if (step.request === undefined) return;
    timer.cancel();
    socket.off('data', onData);
    socket.off('end', onEnd);
    socket.pause();
    if (step.rest !== undefined && step.rest.length > 0) socket.unshift(step.rest);
    stop = connect(socket, client, step.request, context);
  };
  socket.on('data', onData);
  socket.once('end', onEnd);
  return (error) => stop(error);
}

/** Sends a last reply and closes. What the client still sends is read and dropped, or its RST would overtake the reply. */
function refuse(socket: Socket, reply: Uint8Array | undefined): void {
  socket.removeAllListeners('data');
  socket.resume();
  if (reply === undefined) socket.end();
  else socket.end(reply);
}

function connect(
  socket: Socket,
  client: ClientAddress,
  request: Socks5Request,
  { deps, options, metrics }: Context,
): (error: MeshError) => void {
  const resolution = deps.resolve(request, client);
  if (resolution.kind !== 'upstream') {
    metrics.socksRequest(resolution.kind);
    const code: ReplyCode = resolution.kind === 'forbidden' ? REPLY.notAllowed : REPLY.hostUnreachable;
    refuse(socket, encodeReply(code));
    return () => abort(socket);
  }
  const flow = { sourceIp: client.address };
  const far = new AwaitedStream(
    dialUpstream(resolution.upstream, flow, { dialer: deps.dialer, clock: deps.clock, metrics }, options),
    {
      opened() {
        metrics.socksRequest('ok');
        socket.write(encodeReply(REPLY.succeeded));
        const near = socketByteStream(socket, 'connected');
        splice(near, far, ({ bytesAtoB, bytesBtoA, error }) => {
          metrics.bytesToEndpoint.add(bytesAtoB);
          metrics.bytesToClient.add(bytesBtoA);
          metrics.connectionEnded(error?.code ?? 'ok');
        });
      },
      failed(error) {
        metrics.socksRequest(error.code);
        deps.log.debug('SOCKS5 request failed', { host: request.host, port: request.port, code: error.code });
        refuse(socket, encodeReply(replyFor(error.code)));
      },
    },
  );
  socket.once('close', () => far.reset());
  return (error) => {
    far.reset(error);
    abort(socket);
  };
}

/** A dialled stream whose outcome somebody wants to know before its sink is attached. */
class AwaitedStream implements ByteStream {
  private readonly stream: ByteStream;
  private sink: ByteSink | undefined;

  constructor(stream: ByteStream, on: { opened(): void; failed(error: MeshError): void }) {
    this.stream = stream;
    stream.attach({
      opened: () => on.opened(),
      data: (chunk) => this.sink?.data(chunk),
      ended: () => this.sink?.ended(),
      drained: () => this.sink?.drained(),
      closed: (error) => {
        if (this.sink !== undefined) this.sink.closed(error);
        else on.failed(error ?? new MeshError('reset', 'closed before it has opened'));
      },
    });
  }

  attach(sink: ByteSink): void {
    this.sink = sink;
  }

  write(chunk: Uint8Array): boolean {
    return this.stream.write(chunk);
  }

  end(): void {
    this.stream.end();
  }

  reset(error?: MeshError): void {
    this.stream.reset(error);
  }

  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    this.stream.resume();
  }
}
