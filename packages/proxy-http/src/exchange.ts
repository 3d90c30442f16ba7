import type { Flow } from '@edgemesh/core';
import type { HttpProxyError } from './errors.ts';
import { failureStatus, grpcStatusOfHttp } from './failure-status.ts';
import { type HeaderList, headerValue } from './headers.ts';
import type { BodySink, Downstream, ResponseHead } from './message.ts';
import { cookieValue, parseAuthority, queryParameter, type RequestView } from './route/request-view.ts';
import type { RouteHit } from './route/route-matcher.ts';
import type { WeightedBackend } from './route-model.ts';

/** One request on its way through the layers: what is known of it, and the only way to answer it. */
export class Exchange implements RequestView {
  readonly downstream: Downstream;
  readonly startedAt: number;
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  readonly isGrpc: boolean;
  /** As the client sent it, for the access log and redirects. */
  readonly sentPath: string;
  readonly sentAuthority: string;
  // What is forwarded; layers change it.
  authority: string;
  path: string;
  query: string;
  readonly headers: HeaderList;
  /** The client for balancing and logs; a trusted proxy may have named it. */
  sourceIp: string;
  requestId = '';
  hit: RouteHit | undefined;
  backend: WeightedBackend | undefined;
  endpoint: string | undefined;
  tries = 0;
  /** A session cookie made for this client; balancers see it as if it had been sent. */
  madeCookie: { readonly name: string; readonly value: string } | undefined;
  status = 0;
  error: HttpProxyError | undefined;
  requestBytes = 0;
  responseBytes = 0;
  responded = false;
  closed = false;
  private responseHooks: ((head: ResponseHead) => void)[] | undefined;
  private closeHooks: ((complete: boolean) => void)[] | undefined;
  /** Others who get a copy of the request body. */
  bodyTaps: BodySink[] | undefined;

  constructor(downstream: Downstream, startedAt: number) {
    const { head, client } = downstream;
    this.downstream = downstream;
    this.startedAt = startedAt;
    this.method = head.method;
    this.scheme = head.scheme;
    this.authority = head.authority;
    this.sentAuthority = head.authority;
    this.host = parseAuthority(head.authority)?.host ?? '';
    this.port = client.localPort;
    const mark = head.target.indexOf('?');
    this.path = mark < 0 ? head.target : head.target.slice(0, mark);
    this.query = mark < 0 ? '' : head.target.slice(mark + 1);
    this.sentPath = this.path;
    this.headers = head.headers;
    this.sourceIp = client.address;
    this.isGrpc =
      head.version === '2' && (headerValue(head.headers, 'content-type') ?? '').startsWith('application/grpc');
  }

  /** Path and query as they are forwarded. */
  get target(): string {
    return this.query === '' ? this.path : `${this.path}?${this.query}`;
  }

  header(name: string): string | undefined {
    return name === 'host' ? this.authority : headerValue(this.headers, name);
  }

  /** What balancers read. */
  flow(): Flow {
    return new ExchangeFlow(this);
  }

  /** A cookie as balancers see it. */
  cookie(name: string): string | undefined {
    if (this.madeCookie?.name === name) return this.madeCookie.value;
    return cookieValue(headerValue(this.headers, 'cookie'), name);
  }

  /** Changes the head of whatever response will be sent. Hooks of inner layers run first. */
  onResponse(hook: (head: ResponseHead) => void): void {
    this.responseHooks ??= [];
    this.responseHooks.push(hook);
  }

  /** Runs once when the exchange is over; `complete` when the client got the whole response. */
  onClosed(hook: (complete: boolean) => void): void {
    this.closeHooks ??= [];
    this.closeHooks.push(hook);
  }

  /** Called by the first layer. */
  runClosed(complete: boolean): void {
    this.closed = true;
    for (const hook of this.closeHooks ?? []) hook(complete);
  }

  /** Sends a response head; body by `downstream`. */
  respond(head: ResponseHead): void {
    if (this.responded) return;
    this.responded = true;
    this.status = head.status;
    const hooks = this.responseHooks;
    if (hooks !== undefined) for (let i = hooks.length - 1; i >= 0; i--) hooks[i]?.(head);
    this.downstream.respond(head);
  }

  /** Answers with a short text, made here. */
  answer(status: number, headers: HeaderList, body = ''): void {
    const bytes = Buffer.from(body);
    const bodiless = bytes.length === 0 || this.method === 'HEAD';
    const contentLength = status === 204 || status === 304 ? undefined : bytes.length;
    this.respond({
      status,
      headers: ['date', httpDate(), ...headers],
      body: bodiless ? 'none' : 'length',
      contentLength,
    });
    if (!bodiless) {
      this.responseBytes += bytes.length;
      this.downstream.write(bytes);
    }
    this.downstream.end();
  }

  /** Answers with a failure: a status with a short text, or for gRPC a status in the headers (trailers-only). */
  fail(error: HttpProxyError, status?: { readonly http: number; readonly grpc: number }): void {
    if (this.error === undefined || !this.responded) this.error = error;
    if (this.responded) {
      this.downstream.abort();
      return;
    }
    const { http, grpc } = status ?? failureStatus(error.code);
    if (this.isGrpc) {
      const message = encodeURIComponent(error.message);
      this.answer(200, ['content-type', 'application/grpc', 'grpc-status', String(grpc), 'grpc-message', message]);
    } else this.answer(http, ['content-type', TEXT], `${error.message}\n`);
  }

  /** As {@link fail}, with a status of a policy. */
  failWith(error: HttpProxyError, http: number, grpc: number = grpcStatusOfHttp(http)): void {
    this.fail(error, { http, grpc });
  }
}

/** What balancers read of an exchange, looked up when they ask. */
class ExchangeFlow implements Flow {
  readonly sourceIp: string;
  private readonly exchange: Exchange;

  constructor(exchange: Exchange) {
    this.exchange = exchange;
    this.sourceIp = exchange.sourceIp;
  }

  header(name: string): string | undefined {
    return this.exchange.header(name);
  }

  cookie(name: string): string | undefined {
    return this.exchange.cookie(name);
  }

  query(name: string): string | undefined {
    return queryParameter(this.exchange.query, name);
  }
}

const TEXT = 'text/plain; charset=utf-8';

let dateText = '';
let dateSecond = 0;

/** The Date header's value, made once per second. */
function httpDate(): string {
  const second = Math.floor(Date.now() / 1_000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1_000).toUTCString();
  }
  return dateText;
}
