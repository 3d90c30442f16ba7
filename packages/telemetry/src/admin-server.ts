import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { detach, type Logger, messageOf, silentLogger } from '@edgemesh/core';
import type { AdminResponse, AdminRoute } from './admin-route.ts';
import { TelemetryError } from './errors.ts';
import { EXPOSITION_TYPE } from './exposition.ts';
import type { Health } from './health.ts';
import { foreignRequest, isLoopback } from './loopback.ts';
import {
  CLOSE_GRACE_MS,
  HEADERS_TIMEOUT_MS,
  KEEP_ALIVE_TIMEOUT_MS,
  MAX_CONNECTIONS,
  MAX_HEADER_BYTES,
  REQUEST_TIMEOUT_MS,
} from './options.ts';
import { profilingRoutes } from './profiling.ts';

export interface AdminServerOptions {
  /** Address and port; port 0 lets the system choose. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly health: Health;
  readonly metrics: { render(): string };
  /** What `/status` shows: anything that JSON can hold. */
  readonly status?: () => unknown;
  /** Further pages. */
  readonly routes?: readonly AdminRoute[];
  /** Serves `/debug/heap` and `/debug/cpu`. Default false. */
  readonly profiling?: boolean;
  readonly log?: Logger;
}

/** A running admin endpoint. */
export interface AdminServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** `http://127.0.0.1:10551`. */
  readonly url: string;
}

/**
 * Serves `/healthz`, `/readyz`, `/metrics` and `/status` over HTTP. Resolves when it listens.
 * @throws TelemetryError `address-in-use` or `listen-failed`, naming the address
 */
export async function createAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const log = options.log ?? silentLogger;
  const routes = new Map(
    [...builtIn(options), ...(options.profiling ? profilingRoutes() : []), ...(options.routes ?? [])].map((route) => [
      route.path,
      route,
    ]),
  );
  const server = createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: 1000,
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, options.listen);
  const { address, port } = server.address() as AddressInfo;
  const guarded = isLoopback(address);
  server.on('request', (request, response) =>
    detach('admin request', log, answer(request, response, routes, guarded, log)),
  );
  server.on('error', (error) => log.error('admin endpoint failed', { error: messageOf(error) }));
  return {
    host: address,
    port,
    url: `http://${address.includes(':') ? `[${address}]` : address}:${port}`,
    [Symbol.asyncDispose]: () => close(server),
  };
}

function builtIn({ health, metrics, status }: AdminServerOptions): AdminRoute[] {
  const report = (ok: boolean, verbose: boolean): AdminResponse => ({
    status: ok ? 200 : 503,
    body: verbose ? { ok, modules: health.modules } : { ok, failing: failing(health) },
  });
  return [
    // Alive means: the event loop answers. A degraded module is no reason to kill the agent.
    { path: '/healthz', handle: ({ query }) => report(true, query.has('verbose')) },
    { path: '/readyz', handle: ({ query }) => report(health.ready, query.has('verbose')) },
    { path: '/metrics', handle: () => ({ type: EXPOSITION_TYPE, body: metrics.render() }) },
    { path: '/status', handle: () => ({ body: { modules: health.modules, ...(status?.() as object | undefined) } }) },
  ];
}

function failing(health: Health): readonly string[] {
  return health.modules.filter(({ state }) => state === 'starting' || state === 'degraded').map(({ name }) => name);
}

function listen(server: Server, { host, port }: AdminServerOptions['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      const place = `${host.includes(':') ? `[${host}]` : host}:${port}`;
      if (error.code === 'EADDRINUSE')
        reject(
          new TelemetryError('address-in-use', `the admin address ${place} is in use by another program`, {
            cause: error,
          }),
        );
      else
        reject(
          new TelemetryError('listen-failed', `cannot listen on the admin address ${place}: ${error.message}`, {
            cause: error,
          }),
        );
    };
    server.once('error', failed);
    server.listen({ host, port }, () => {
      server.removeListener('error', failed);
      resolve();
    });
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: ReadonlyMap<string, AdminRoute>,
  guarded: boolean,
  log: Logger,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const url = URL.parse(`http://admin${request.url}`);
  const route = url === null ? undefined : routes.get(url.pathname);
  const refusal = guarded ? foreignRequest(request.headers) : undefined;
  let result: AdminResponse;
  if (refusal !== undefined) result = { status: 403, body: { error: refusal } };
  else if (url === null || route === undefined)
    result = { status: 404, body: { error: 'not found', paths: [...routes.keys()] } };
  else if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    result = { status: 405, body: { error: 'method not allowed' } };
  } else result = await handle(route, { path: url.pathname, query: url.searchParams, signal: gone.signal }, log);
  // Nothing here reads a body; a client that sends one must not be taken for one that sends another request.
  if (request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined)
    response.setHeader('connection', 'close');
  await send(request, response, result);
}

async function handle(
  route: AdminRoute,
  request: Parameters<AdminRoute['handle']>[0],
  log: Logger,
): Promise<AdminResponse> {
  try {
    const result = await route.handle(request);
    const { body } = result;
    const ready = typeof body === 'string' || body instanceof Uint8Array || Symbol.asyncIterator in body;
    return ready ? result : { ...result, body: `${JSON.stringify(body)}\n` };
  } catch (error) {
    log.error('admin page failed', { path: route.path, error: messageOf(error) });
    return { status: 500, body: { error: 'internal error, see the log' } };
  }
}

async function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status = 200, type, body, fileName }: AdminResponse,
): Promise<void> {
  if (response.destroyed) return;
  response.statusCode = status;
  response.setHeader('content-type', type ?? 'application/json');
  response.setHeader('cache-control', 'no-store');
  response.setHeader('x-content-type-options', 'nosniff');
  if (fileName !== undefined) response.setHeader('content-disposition', `attachment; filename="${fileName}"`);
  if (typeof body === 'object' && Symbol.asyncIterator in body) {
    const stream = Readable.from(body as AsyncIterable<Uint8Array>);
    if (request.method === 'HEAD') {
      stream.destroy();
      response.end();
      return;
    }
    // A client that hangs up half-way is its own affair; the stream is destroyed with it.
    await pipeline(stream, response).catch(() => response.destroy());
    return;
  }
  const bytes =
    typeof body === 'string'
      ? Buffer.from(body)
      : body instanceof Uint8Array
        ? body
        : Buffer.from(`${JSON.stringify(body)}\n`);
  response.setHeader('content-length', bytes.byteLength);
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

/** Lets answers under way finish for a moment, then ends every connection. Idempotent. */
function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
    // Closing what is closed already reports an error; there is nothing left to do then either.
    server.close(() => {
      clearTimeout(force);
      resolve();
    });
    server.closeIdleConnections();
  });
}
