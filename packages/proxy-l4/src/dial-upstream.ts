import {
  type ByteSink,
  type ByteStream,
  type Clock,
  type Dialer,
  type Endpoint,
  endpointKey,
  type Flow,
  giveBorrowed,
  MeshError,
  writeBorrowed,
} from '@edgemesh/core';
import type { ProxyMetrics } from './metrics.ts';
import { PROXY_DEFAULTS } from './options.ts';
import type { Upstream } from './upstream.ts';

/** How persistently an upstream is dialled. */
export interface DialUpstreamOptions {
  /** Endpoints tried at most. Default 3. */
  readonly maxDialAttempts?: number;
  /** Milliseconds per attempt. Default: the dialer's own. */
  readonly dialTimeoutMs?: number;
  /** Early bytes kept for another attempt; more make `write` answer false until an endpoint has accepted. Default 65,536. */
  readonly maxEarlyBytes?: number;
}

/** What {@link dialUpstream} works with. */
export interface DialUpstreamDeps {
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly metrics: ProxyMetrics;
}

const nothing = () => new MeshError('no-endpoints', 'the Service has no endpoint to offer');

/**
 * A stream to whichever endpoint accepts first. Early bytes go out at once, for dialers that can carry them with the opening,
 * and a copy is kept until `opened`: an attempt that fails with `retryable` is followed by another endpoint, no byte lost.
 */
class UpstreamStream implements ByteStream {
  private readonly upstream: Upstream;
  private readonly flow: Flow;
  private readonly options: DialUpstreamOptions;
  private readonly deps: DialUpstreamDeps;
  private readonly maxEarlyBytes: number;
  sink: ByteSink | undefined;
  private current: ByteStream | undefined;
  private attempts = 0;
  private tried: Set<string> | undefined;
  private early: Uint8Array[] = [];
  private earlyBytes = 0;
  private isOpen: boolean = false;
  private hasEnded = false;
  private paused = false;
  private owesDrained = false;
  private innerFull = false;
  private aborted = false;
  private done: boolean = false;
  private error: MeshError | undefined;

  constructor(upstream: Upstream, flow: Flow, options: DialUpstreamOptions, deps: DialUpstreamDeps) {
    this.upstream = upstream;
    this.flow = flow;
    this.options = options;
    this.deps = deps;
    this.maxEarlyBytes = options.maxEarlyBytes ?? PROXY_DEFAULTS.maxEarlyBytes;
    this.attempt(undefined);
  }

  attach(sink: ByteSink): void {
    if (this.sink !== undefined) throw new Error('attach is called once');
    this.sink = sink;
    if (this.done) queueMicrotask(() => sink.closed(this.error));
  }

  write(chunk: Uint8Array): boolean {
    return this.isOpen ? (this.current as ByteStream).write(chunk) : this.writeEarly(chunk);
  }

  writeCopy(chunk: Uint8Array): boolean {
    return this.isOpen ? writeBorrowed(this.current as ByteStream, chunk) : this.writeEarly(chunk);
  }

  private writeEarly(chunk: Uint8Array): boolean {
    if (this.done || this.hasEnded || chunk.length === 0) return true;
    const kept = Buffer.from(chunk);
    this.early.push(kept);
    this.earlyBytes += chunk.length;
    if (!writeBorrowed(this.current as ByteStream, kept)) this.innerFull = true;
    if (!this.innerFull && this.earlyBytes < this.maxEarlyBytes) return true;
    this.owesDrained = true;
    return false;
  }

  end(): void {
    this.hasEnded = true;
    this.current?.end();
  }

  reset(error?: MeshError): void {
    if (this.done) return;
    this.aborted = true;
    this.current?.reset(error ?? new MeshError('aborted', 'connection aborted'));
  }

  pause(): void {
    this.paused = true;
    this.current?.pause();
  }

  resume(): void {
    this.paused = false;
    this.current?.resume();
  }

  private attempt(lastError: MeshError | undefined): void {
    const endpoint = this.upstream.pick(this.flow, this.tried);
    if (endpoint === undefined) {
      this.finish(lastError ?? nothing());
      return;
    }
    this.attempts++;
    this.innerFull = false;
    this.upstream.begin?.(endpoint);
    const { sourceIp } = this.flow;
    const { dialTimeoutMs } = this.options;
    const stream = this.deps.dialer.dial(endpoint, {
      ...(sourceIp !== undefined && { clientAddress: sourceIp }),
      ...(dialTimeoutMs !== undefined && { timeoutMs: dialTimeoutMs }),
    });
    this.current = stream;
    stream.attach(new Attempt(this, endpoint, this.deps.clock.now()));
    if (this.current !== stream) return; // failed at once, the next attempt has been made
    for (const chunk of this.early) if (!writeBorrowed(stream, chunk)) this.innerFull = true;
    if (this.hasEnded) stream.end();
    if (this.paused) stream.pause();
  }

  // What an attempt tells

  opened(endpoint: Endpoint, startedAt: number): void {
    if (this.isOpen) return;
    const latencyMs = this.deps.clock.now() - startedAt;
    this.isOpen = true;
    this.early = [];
    this.tried = undefined;
    this.deps.metrics.dialed('ok');
    this.deps.metrics.dialSeconds.observe(latencyMs / 1000);
    this.upstream.report?.(endpoint, { kind: 'success', latencyMs });
    this.sink?.opened?.();
    // When the stream below is full too, its own drained will come.
    if (this.owesDrained && !this.innerFull) this.sink?.drained();
  }

  drained(): void {
    if (this.isOpen) this.sink?.drained();
    else this.innerFull = false;
  }

  attemptClosed(endpoint: Endpoint, error: MeshError | undefined): void {
    this.upstream.end?.(endpoint);
    if (this.isOpen || this.aborted || error === undefined) {
      this.finish(error);
      return;
    }
    this.deps.metrics.dialed(error.code);
    if (isEndpointsFault(error)) this.upstream.report?.(endpoint, { kind: 'connect-failure' });
    const max = this.options.maxDialAttempts ?? PROXY_DEFAULTS.maxDialAttempts;
    if (!error.retryable || this.attempts >= max) {
      this.finish(error);
      return;
    }
    this.tried ??= new Set();
    this.tried.add(endpointKey(endpoint));
    this.attempt(error);
  }

  private finish(error: MeshError | undefined): void {
    if (this.done) return;
    this.done = true;
    this.isOpen = false;
    this.early = [];
    this.error = error;
    this.current = undefined;
    this.sink?.closed(error);
  }
}

/** The stream to one endpoint. Whoever sends has accepted: from then on a retry would repeat what the client has already got. */
class Attempt implements ByteSink {
  private readonly owner: UpstreamStream;
  private readonly endpoint: Endpoint;
  private readonly startedAt: number;

  constructor(owner: UpstreamStream, endpoint: Endpoint, startedAt: number) {
    this.owner = owner;
    this.endpoint = endpoint;
    this.startedAt = startedAt;
  }

  opened(): void {
    this.owner.opened(this.endpoint, this.startedAt);
  }
  data(chunk: Uint8Array): void {
    this.opened();
    this.owner.sink?.data(chunk);
  }
  borrowed(chunk: Uint8Array): void {
    this.opened();
    if (this.owner.sink !== undefined) giveBorrowed(this.owner.sink, chunk);
  }
  ended(): void {
    this.opened();
    this.owner.sink?.ended();
  }
  drained(): void {
    this.owner.drained();
  }
  closed(error?: MeshError): void {
    this.owner.attemptClosed(this.endpoint, error);
  }
}

/** Our own limits and stops say nothing about the endpoint. */
function isEndpointsFault(error: MeshError): boolean {
  return error.code !== 'limit' && error.code !== 'shutdown' && error.code !== 'aborted';
}

/**
 * Dials a Service port: picks an endpoint, dials it at once, tries others while failures are retryable, and reports to the
 * balancer. The stream closes with the last error, or with `no-endpoints`.
 */
export function dialUpstream(
  upstream: Upstream,
  flow: Flow,
  deps: DialUpstreamDeps,
  options: DialUpstreamOptions = {},
): ByteStream {
  return new UpstreamStream(upstream, flow, options, deps);
}
