import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { ApiAnswer, ApiRequest, Sink } from './api/request.ts';
import { internalError, tooLargeBody } from './api/status.ts';

/** Certificate and key of an HTTPS server, PEM; `ca` makes client certificates mandatory. */
export interface TlsOptions {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
}

export interface HttpFaceOptions {
  readonly host: string;
  readonly port: number;
  readonly tls?: TlsOptions;
  readonly maxBodyBytes: number;
  readonly gzipFromBytes: number;
  readonly handle: (request: ApiRequest) => Promise<ApiAnswer>;
}

/** A listening HTTP server whose connections can be broken and refused. */
export interface HttpFace {
  readonly url: string;
  readonly port: number;
  /** Breaks all connections and stops listening; clients see ECONNREFUSED. */
  refuse(): Promise<void>;
  /** Listens again, on the same port. */
  accept(): Promise<void>;
  /** Breaks all connections; new ones are welcome. */
  dropConnections(): void;
  close(): Promise<void>;
}

/** Opens the server and resolves when it listens. */
export async function createHttpFace(options: HttpFaceOptions): Promise<HttpFace> {
  const sockets = new Set<Socket>();
  const onRequest: RequestListener = (incoming, response) => {
    answer(options, incoming, response).catch((cause: unknown) => {
      response.destroy(cause instanceof Error ? cause : new Error(String(cause)));
    });
  };
  const server = makeServer(options, onRequest);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await listen(server, options.host, options.port);
  const { port } = server.address() as AddressInfo;
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const dropConnections = () => {
    for (const socket of sockets) socket.destroy();
  };
  const refuse = () =>
    new Promise<void>((resolve) => {
      if (!server.listening) return resolve();
      server.close(() => resolve());
      dropConnections();
    });
  return {
    url: `${options.tls ? 'https' : 'http'}://${host}:${port}`,
    port,
    refuse,
    accept: async () => {
      if (!server.listening) await listen(server, options.host, port);
    },
    dropConnections,
    close: refuse,
  };
}

function makeServer(options: HttpFaceOptions, onRequest: RequestListener): Server {
  const { tls } = options;
  if (!tls) return createHttpServer(onRequest);
  const { cert, key, ca } = tls;
  return createHttpsServer({ cert, key, ...(ca && { ca, requestCert: true, rejectUnauthorized: true }) }, onRequest);
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function answer(options: HttpFaceOptions, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const body = await readBody(incoming, options.maxBodyBytes);
  if (body === undefined) return send(options, incoming, response, statusAnswer(tooLargeBody()));
  const headers = Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]),
  );
  const request: ApiRequest = {
    method: incoming.method ?? 'GET',
    url: incoming.url ?? '/',
    headers,
    ...(body !== '' && { body }),
    signal: gone.signal,
  };
  const result = await options.handle(request).catch((cause: unknown) => statusAnswer(internalError(String(cause))));
  if (!gone.signal.aborted) send(options, incoming, response, result);
}

function statusAnswer(error: ReturnType<typeof internalError>): ApiAnswer {
  return {
    status: error.status.code ?? 500,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(error.status),
  };
}

function send(options: HttpFaceOptions, incoming: IncomingMessage, response: ServerResponse, result: ApiAnswer): void {
  response.statusCode = result.status;
  for (const [name, value] of Object.entries(result.headers ?? {})) response.setHeader(name, value);
  if ('stream' in result) {
    response.flushHeaders();
    result.stream(sinkOf(response));
    return;
  }
  const bytes = typeof result.body === 'string' ? Buffer.from(result.body) : result.body;
  if (bytes.length >= options.gzipFromBytes && /\bgzip\b/.test(String(incoming.headers['accept-encoding'] ?? ''))) {
    response.setHeader('content-encoding', 'gzip');
    response.setHeader('vary', 'Accept-Encoding');
    response.end(gzipSync(bytes, { level: 1 }));
    return;
  }
  // Large answers are chunked by the real server; small ones carry their length.
  if (bytes.length < 2048) response.setHeader('content-length', bytes.length);
  response.end(incoming.method === 'HEAD' ? undefined : bytes);
}

function sinkOf(response: ServerResponse): Sink {
  return {
    get bufferedBytes() {
      return response.writableLength;
    },
    write: (text) => void (response.writableEnded || response.destroyed || response.write(text)),
    end: () => void response.end(),
    destroy: () => {
      const { socket } = response;
      // What was written leaves before the connection breaks.
      if (socket) socket.destroySoon();
      else response.destroy();
    },
    onClose: (run) => void response.once('close', run),
  };
}

/** The body as text; undefined when it exceeds the limit. */
async function readBody(incoming: IncomingMessage, limit: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= limit) chunks.push(chunk);
  }
  return size > limit ? undefined : Buffer.concat(chunks).toString();
}
