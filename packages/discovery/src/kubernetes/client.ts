import type { Clock } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { fieldsOf, isFields, textOf } from '../normalize/read.ts';
import { MAX_PAGE_BYTES, MAX_WATCH_EVENT_BYTES } from '../options.ts';
import { createApiRequest, parseJson, type ResponseReader, readText } from './api-request.ts';
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
  const request = createApiRequest({ transports, requestTimeoutMs, clock });
  const get = <T>(target: string, encoding: string, signal: AbortSignal, use: ResponseReader<T>) =>
    request({ method: 'GET', target, headers: { 'accept-encoding': encoding }, signal }, use);
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
