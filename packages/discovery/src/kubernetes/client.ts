import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { type Clock, messageOf } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { fieldsOf, isFields, textOf } from '../normalize/read.ts';
import { MAX_ERROR_BODY_BYTES, MAX_PAGE_BYTES, MAX_WATCH_EVENT_BYTES } from '../options.ts';
import { createLineSplitter } from './lines.ts';
import type { ListPage, WatchEvent } from './machine.ts';
import type { TransportProvider } from './transport.ts';

/** The two requests that discovery makes of an API. Rejections are DiscoveryErrors. */
export interface KubeClient {
  /** One page of a list. */
  list(path: string, query: URLSearchParams, signal: AbortSignal): Promise<ListPage>;
  /** Resolves when the server ends the watch; rejects when it fails or is cut. */
  watch(path: string, query: URLSearchParams, handlers: WatchHandlers, signal: AbortSignal): Promise<void>;
}

/** Called synchronously, in the order of the stream. */
export interface WatchHandlers {
  /** The server has accepted the watch. */
  readonly onOpen: () => void;
  readonly onBytes: () => void;
  readonly onEvent: (event: WatchEvent) => void;
}

/** What a client needs. */
export interface KubeClientOptions {
  readonly transports: TransportProvider;
  /** Milliseconds for a whole list page, and for the headers of a watch. */
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
}

const EVENT_TYPES: ReadonlySet<unknown> = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']);

/** Lists and watches over node:http and node:https, JSON only. */
export function createKubeClient({ transports, requestTimeoutMs, clock }: KubeClientOptions): KubeClient {
  /** Sends a GET and reads headers; `use` reads the body. The timer covers all that happens before `use` stops it. */
  const get = async <T>(
    target: string,
    encoding: string,
    signal: AbortSignal,
    use: (response: IncomingMessage, inTime: () => void) => Promise<T>,
  ): Promise<T> => {
    const { base, headers, agent } = await transports.get();
    if (signal.aborted) throw new DiscoveryError('aborted', 'the request was given up');
    // the server's address may have a path of its own (a proxy such as Rancher's)
    const url = new URL(`${base.pathname.replace(/\/$/, '')}${target}`, base);
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send(url, {
      agent,
      headers: { accept: 'application/json', 'accept-encoding': encoding, 'user-agent': 'edgemesh', ...headers },
    });
    // kept here and not given to destroy(): a response that is cut reports "aborted" whatever the error was, and a socket
    // that is just being returned to the agent would throw it at nobody
    let reason: DiscoveryError | undefined;
    const giveUp = (error: DiscoveryError) => {
      reason ??= error;
      request.destroy();
    };
    const abort = () => giveUp(new DiscoveryError('aborted', 'the request was given up'));
    signal.addEventListener('abort', abort, { once: true });
    const timer = clock.after(requestTimeoutMs, () =>
      giveUp(new DiscoveryError('api-timeout', `no answer within ${requestTimeoutMs} ms`, { retryable: true })),
    );
    try {
      const response = await headersOf(request);
      if (response.statusCode !== 200) throw await statusOf(response);
      return await use(response, () => timer.cancel());
    } catch (error) {
      request.destroy();
      throw reason ?? toDiscoveryError(error);
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', abort);
    }
  };
  return {
    list: (path, query, signal) =>
      get(withQuery(path, query), 'gzip', signal, async (response, inTime) => {
        const text = await readText(response, MAX_PAGE_BYTES);
        inTime();
        return parsePage(text);
      }),
    watch: (path, query, handlers, signal) =>
      get(withQuery(path, query), 'identity', signal, async (response, inTime) => {
        inTime();
        handlers.onOpen();
        const split = createLineSplitter(MAX_WATCH_EVENT_BYTES, (line) => handlers.onEvent(parseEvent(line)));
        for await (const chunk of response as AsyncIterable<Buffer>) {
          handlers.onBytes();
          split(chunk);
        }
      }),
  };
}

function withQuery(path: string, query: URLSearchParams): string {
  const text = query.toString();
  return text === '' ? path : `${path}?${text}`;
}

function headersOf(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once('response', resolve);
    // stays on after the headers, so that a late reset is not an unhandled error
    request.on('error', reject);
    request.end();
  });
}

async function readText(response: IncomingMessage, maxBytes: number): Promise<string> {
  const encoding = response.headers['content-encoding'];
  const body: Readable = encoding === 'gzip' ? response.pipe(createGunzip()) : response;
  if (body !== response) response.once('error', (error) => body.destroy(error));
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) throw new DiscoveryError('api-too-large', `the answer exceeds ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Turns an answer other than 200 into an error. */
async function statusOf(response: IncomingMessage): Promise<DiscoveryError> {
  const status = response.statusCode ?? 0;
  const body = parseJson(await readText(response, MAX_ERROR_BODY_BYTES).catch(() => ''));
  const detail = textOf(fieldsOf(body).message)?.slice(0, 512);
  const after = Number(response.headers['retry-after']);
  return new DiscoveryError(
    status === 410 ? 'api-gone' : 'api-status',
    `HTTP ${status}${detail ? `: ${detail}` : ''}`,
    {
      status,
      retryable: true,
      ...(Number.isFinite(after) && after > 0 && { retryAfterMs: Math.min(after, 300) * 1000 }),
    },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // the caller names what should have been JSON
    return undefined;
  }
}

function parsePage(text: string): ListPage {
  const body = fieldsOf(parseJson(text));
  // the kind is not checked: a metaServer misspells it
  if (!Array.isArray(body.items) && body.items !== null) {
    throw new DiscoveryError('api-protocol', 'the answer is not a list', { retryable: true });
  }
  const metadata = fieldsOf(body.metadata);
  const resourceVersion = textOf(metadata.resourceVersion);
  const next = textOf(metadata.continue);
  const selfLink = textOf(metadata.selfLink);
  return {
    items: (body.items ?? []) as ListPage['items'],
    ...(resourceVersion !== undefined && { resourceVersion }),
    ...(next !== undefined && { continue: next }),
    ...(selfLink !== undefined && { selfLink }),
  };
}

function parseEvent(line: string): WatchEvent {
  const event = fieldsOf(parseJson(line));
  if (!EVENT_TYPES.has(event.type) || !isFields(event.object)) {
    throw new DiscoveryError('api-protocol', 'a line of the watch is not an event', { retryable: true });
  }
  return event as unknown as WatchEvent;
}

function toDiscoveryError(error: unknown): DiscoveryError {
  if (error instanceof DiscoveryError) return error;
  return new DiscoveryError('api-unreachable', messageOf(error), { cause: error, retryable: true });
}
