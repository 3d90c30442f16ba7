import {
  type BackoffOptions,
  backoffDelay,
  type Clock,
  type Logger,
  type Metrics,
  messageOf,
  noMetrics,
  type Random,
  runForever,
  silentLogger,
  sleep,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import { DiscoveryError } from '../../errors.ts';
import { createDiscoveryMetrics, type DiscoveryMetrics } from '../../metrics.ts';
import {
  DEFAULT_REQUEST_TIMEOUT_MS,
  REPORT_FORGET_MS,
  REPORT_LOOK_MS,
  REPORT_RENEW_MS,
  STATUS_BACKOFF,
  STATUS_DELAY_MS,
  STATUS_PAUSE_MS,
  STATUS_RESYNC_MS,
  STATUS_VIEW_MS,
} from '../../options.ts';
import { createTransports, type KubeConnection } from '../connection.ts';
import { createObjectClient, type ObjectClient } from '../object-client.ts';
import type { ResourceSpec } from '../resources.ts';
import { createReports, type NodeReport, type Reports } from './reports.ts';
import type { StatusPublication, StatusWriter, StatusWriterState, WantedStatus } from './types.ts';
import { writeStatus } from './write-status.ts';

/** Where statuses go, and in whose name; defaults of the times in `options.ts`. */
export interface StatusWriterOptions {
  /** An API server. A metaServer is none: it has no status subresources. */
  readonly connection: KubeConnection;
  /** Name of this node; unique among those that write about the topic. */
  readonly node: string;
  /** Namespace of the Leases. */
  readonly namespace: string;
  /** What the statuses are about; names the Leases: `edgemesh-<topic>-<node>`. */
  readonly topic: string;
  /** Marks the entries that are ours among those of other controllers. */
  readonly controllerName: string;
  /** Resources whose objects get statuses. */
  readonly resources: readonly ResourceSpec[];
  readonly requestTimeoutMs?: number;
  readonly renewMs?: number;
  readonly lookMs?: number;
  readonly forgetMs?: number;
  readonly delayMs?: number;
  readonly pauseMs?: number;
  readonly resyncMs?: number;
  readonly backoff?: BackoffOptions;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Logger;
  readonly metrics?: Metrics;
}

/**
 * Starts a writer. Every node reports through a Lease; of the living ones the first by name writes, and it writes what all
 * of them report. So there is one hand on each object, and a node that dies takes its part along after 45 s.
 */
export function createStatusWriter(options: StatusWriterOptions): StatusWriter {
  return new LeasedWriter(options);
}

/** What nodes said, and when. */
interface View {
  readonly at: number;
  readonly nodes: readonly NodeReport[];
}

interface Failure {
  readonly attempt: number;
  readonly retryAt: number;
  readonly problem: string;
}

class LeasedWriter implements StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #metrics: DiscoveryMetrics;
  readonly #renewMs: number;
  readonly #lookMs: number;
  readonly #backoff: BackoffOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  /** What the API server is known to have, by object. */
  readonly #settled = new Map<string, string>();
  readonly #failures = new Map<string, Failure>();
  #publication: StatusPublication | undefined;
  #wake = new AbortController();
  #wakeTimer: Timer | undefined;
  #reported: string | undefined;
  #renewAt = 0;
  #resyncAt = 0;
  #view: View | undefined;
  #role: StatusWriterState['role'] = 'idle';
  #pending = 0;
  #problem: string | undefined;

  constructor(options: StatusWriterOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#log = options.log ?? silentLogger;
    this.#metrics = createDiscoveryMetrics(options.metrics ?? noMetrics);
    this.#renewMs = options.renewMs ?? REPORT_RENEW_MS;
    this.#lookMs = options.lookMs ?? REPORT_LOOK_MS;
    this.#backoff = options.backoff ?? STATUS_BACKOFF;
    const background = { name: 'write statuses', log: this.#log, clock: this.#clock, signal: this.#stop.signal };
    this.#running = runForever({ ...background, backoff: this.#backoff }, (signal) => this.#run(signal));
  }

  publish(publication: StatusPublication | undefined): void {
    this.#publication = publication;
    const delayMs = (this.#options.delayMs ?? STATUS_DELAY_MS) * (0.5 + this.#random());
    this.#wakeTimer ??= this.#clock.after(delayMs, () => {
      this.#wakeTimer = undefined;
      this.#wake.abort();
    });
  }

  state(): StatusWriterState {
    const leader = this.#view?.nodes[0]?.node;
    const problem = this.#problem ?? this.#failures.values().next().value?.problem;
    return {
      role: this.#role,
      ...(leader !== undefined && { leader }),
      nodes: this.#view?.nodes.length ?? 0,
      pending: this.#pending,
      ...(problem !== undefined && { problem }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#wakeTimer?.cancel();
    this.#stop.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { connection, node, namespace, topic } = this.#options;
    const { requestTimeoutMs = DEFAULT_REQUEST_TIMEOUT_MS, forgetMs = REPORT_FORGET_MS } = this.#options;
    using transports = await createTransports(connection);
    const client = createObjectClient({ transports, requestTimeoutMs, clock: this.#clock });
    const reports = createReports({ client, clock: this.#clock, node, namespace, topic, forgetMs });
    this.#reported = undefined;
    try {
      while (!signal.aborted) {
        const waitMs = await this.#round(client, reports, signal);
        this.#problem = undefined;
        await sleep(waitMs, this.#clock, AbortSignal.any([signal, this.#wake.signal]));
        if (this.#wake.signal.aborted) this.#wake = new AbortController();
      }
    } catch (error) {
      this.#problem = messageOf(error);
      throw error;
    } finally {
      if (signal.aborted) await this.#leave(reports);
    }
  }

  /** One look at everything. Answers how long nothing needs to be done. */
  async #round(client: ObjectClient, reports: Reports, signal: AbortSignal): Promise<number> {
    const publication = this.#publication;
    if (publication === undefined) {
      await reports.release(signal);
      this.#follow('idle');
      this.#view = undefined;
      this.#reported = undefined;
      return this.#renewMs;
    }
    // Own first: of two nodes that start at once, the later to write sees both.
    if (publication.report !== this.#reported || this.#clock.now() >= this.#renewAt) {
      await reports.renew(publication.report, signal);
      this.#reported = publication.report;
      this.#renewAt = this.#clock.now() + this.#renewMs * (0.8 + 0.2 * this.#random());
      this.#view = undefined;
    }
    const view = await this.#look(reports, this.#lookMs, signal);
    if (view.nodes[0]?.node !== this.#options.node) this.#follow('follower');
    else await this.#lead(publication, client, reports, signal);
    const due = Math.min(
      this.#renewAt,
      view.at + this.#lookMs,
      ...[...this.#failures.values()].map(({ retryAt }) => retryAt),
    );
    return Math.max(0, due - this.#clock.now());
  }

  async #look(reports: Reports, maxAgeMs: number, signal: AbortSignal): Promise<View> {
    if (this.#view === undefined || this.#clock.now() - this.#view.at >= maxAgeMs) {
      this.#view = { nodes: await reports.read(signal), at: this.#clock.now() };
    }
    return this.#view;
  }

  #follow(role: 'idle' | 'follower'): void {
    this.#become(role);
    this.#settled.clear();
    this.#failures.clear();
    this.#pending = 0;
  }

  #become(role: StatusWriterState['role']): void {
    if (role !== this.#role) this.#log.info('role in writing statuses', { role });
    this.#role = role;
  }

  async #lead(publication: StatusPublication, client: ObjectClient, reports: Reports, signal: AbortSignal) {
    this.#become('leader');
    await reports.sweep(signal);
    const now = this.#clock.now();
    if (now >= this.#resyncAt) {
      this.#settled.clear();
      this.#resyncAt = now + (this.#options.resyncMs ?? STATUS_RESYNC_MS) * (0.9 + 0.2 * this.#random());
    }
    if (this.#unsettled(publication).length === 0) return;
    // Somebody who comes first may have appeared since.
    const view = await this.#look(reports, Math.min(STATUS_VIEW_MS, this.#lookMs), signal);
    if (view.nodes[0]?.node !== this.#options.node) return this.#follow('follower');
    for (const wanted of this.#unsettled(publication)) {
      // A newer publication makes this one pointless.
      if (signal.aborted || this.#publication !== publication) return;
      const key = keyOf(wanted);
      if ((this.#failures.get(key)?.retryAt ?? 0) > this.#clock.now()) continue;
      await this.#write(wanted, client, signal);
      await sleep(this.#options.pauseMs ?? STATUS_PAUSE_MS, this.#clock, signal);
    }
  }

  #unsettled({ render }: StatusPublication): WantedStatus[] {
    const wanted = render((this.#view?.nodes ?? []).map(({ report }) => report));
    const keys = new Set(wanted.map(keyOf));
    for (const map of [this.#settled, this.#failures])
      for (const key of [...map.keys()]) if (!keys.has(key)) map.delete(key);
    const unsettled = wanted.filter((status) => this.#settled.get(keyOf(status)) !== JSON.stringify(status));
    this.#pending = unsettled.length;
    return unsettled;
  }

  async #write(wanted: WantedStatus, client: ObjectClient, signal: AbortSignal): Promise<void> {
    const key = keyOf(wanted);
    const { controllerName, resources } = this.#options;
    const now = new Date(this.#clock.wallNow()).toISOString().replace(/\.\d+Z$/, 'Z');
    try {
      const result = await writeStatus(wanted, { client, resources, controllerName, now, signal });
      this.#metrics.statusWrites.with(wanted.kind, result).add();
      this.#settled.set(key, JSON.stringify(wanted));
      this.#failures.delete(key);
      this.#pending--;
    } catch (error) {
      if (signal.aborted || !(error instanceof DiscoveryError) || error.code !== 'api-status') throw error;
      this.#metrics.statusWrites.with(wanted.kind, 'failed').add();
      const before = this.#failures.get(key);
      const attempt = (before?.attempt ?? 0) + 1;
      const delayMs = error.retryAfterMs ?? backoffDelay(attempt, this.#backoff, this.#random);
      const problem = `${key}: ${error.message}`;
      if (before?.problem !== problem)
        this.#log.warn('a status cannot be written', { object: key, error: error.message });
      this.#failures.set(key, { attempt, problem, retryAt: this.#clock.now() + delayMs });
    }
  }

  async #leave(reports: Reports): Promise<void> {
    try {
      await reports.release(AbortSignal.timeout(LEAVE_MS));
    } catch (error) {
      this.#log.debug('the Lease stays until it runs out', { error: messageOf(error) });
    }
  }
}

/** Milliseconds that a stop waits for the Lease to go. */
const LEAVE_MS = 2_000;

function keyOf({ kind, namespace = '', name, uid = '' }: WantedStatus): string {
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}${uid === '' ? '' : ` ${uid}`}`;
}
