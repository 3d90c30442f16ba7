import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { type Clock, messageOf } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { fieldsOf, textOf } from '../normalize/read.ts';
import { MAX_ERROR_BODY_BYTES } from '../options.ts';
import type { TransportProvider } from './transport.ts';

/** What requests need. */
export interface ApiRequestOptions {
  readonly transports: TransportProvider;
  /** Milliseconds until the reader says that the answer came in time. */
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
}

/** One request: the path with its query, and what goes along. */
export interface ApiCall {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
}

/** Reads the body of a good answer; `inTime` stops the request's timer. */
export type ResponseReader<T> = (response: IncomingMessage, inTime: () => void) => Promise<T>;

/** Sends a request over node:http or node:https. Rejects with DiscoveryErrors, also for every status but 200 and 201. */
export function createApiRequest({ transports, requestTimeoutMs, clock }: ApiRequestOptions) {
  return async <T>(call: ApiCall, use: ResponseReader<T>): Promise<T> => {
    const { method, target, signal, body } = call;
    const { base, headers, agent } = await transports.get();
    if (signal.aborted) throw new DiscoveryError('aborted', 'the request was given up');
    // the server's address may have a path of its own (a proxy such as Rancher's)
    const url = new URL(`${base.pathname.replace(/\/$/, '')}${target}`, base);
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send(url, {
      method,
      agent,
      headers: { accept: 'application/json', 'user-agent': 'edgemesh', ...call.headers, ...headers },
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
      const response = await headersOf(request, body);
      if (response.statusCode !== 200 && response.statusCode !== 201) throw await statusOf(response);
      return await use(response, () => timer.cancel());
    } catch (error) {
      request.destroy();
      throw reason ?? toDiscoveryError(error);
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', abort);
    }
  };
}

function headersOf(request: ClientRequest, body: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once('response', resolve);
    // stays on after the headers, so that a late reset is not an unhandled error
    request.on('error', reject);
    request.end(body);
  });
}

/** The body as text; more than `maxBytes`, after decompression, is an error. */
export async function readText(response: IncomingMessage, maxBytes: number): Promise<string> {
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

/** Turns a refusal into an error. */
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

/** JSON, or undefined. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // the caller names what should have been JSON
    return undefined;
  }
}

function toDiscoveryError(error: unknown): DiscoveryError {
  if (error instanceof DiscoveryError) return error;
  return new DiscoveryError('api-unreachable', messageOf(error), { cause: error, retryable: true });
}
