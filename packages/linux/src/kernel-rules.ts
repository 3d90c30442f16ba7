import {
  backoffDelay,
  type Clock,
  detach,
  EMPTY_PLAN,
  type Logger,
  type Metrics,
  messageOf,
  noMetrics,
  type RulesPlan,
  silentLogger,
  sleep,
  systemClock,
} from '@edgemesh/core';
import { forgetFlows, type StaleFlows, staleFlows } from './conntrack/conntrack.ts';
import { LinuxError } from './errors.ts';
import { createRunner, type Runner } from './exec.ts';
import { ensureLink, type LinkPlan, removeLink } from './link/link.ts';
import { type ApplyReport, createNftTable, type NftTableOptions } from './nft/table.ts';
import { LINUX_DEFAULTS } from './options.ts';
import { openSocketLb, type SocketLb, type SocketLbOptions } from './socket-lb/socket-lb.ts';

export interface KernelRulesOptions extends Omit<NftTableOptions, 'runner' | 'linkAddresses' | 'linkName'> {
  readonly runner?: Runner;
  /** The link that carries the listeners' addresses. Default: edgemesh0 with 169.254.96.16. */
  readonly link?: LinkPlan;
  /** Serve sockets of this machine at connect(2) where the kernel can; see {@link SocketLb}. Default: no. */
  readonly socketLb?: Pick<SocketLbOptions, 'podGroup'> & { readonly open?: typeof openSocketLb };
  readonly heartbeatIntervalMs?: number;
  readonly verifyIntervalMs?: number;
}

/** How the kernel side fares, for status pages. */
export interface KernelRulesStatus {
  /** `idle`: nothing applied yet. `failing`: the last attempt failed and is retried. */
  readonly state: 'idle' | 'active' | 'failing';
  readonly rules: number;
  readonly elements: number;
  readonly lastError?: string;
  /** What works less well, and why: one sentence each. */
  readonly degraded: readonly string[];
  readonly skipped: ApplyReport['skipped'];
  /** Absent: not asked for. `reason`: why sockets are not served, and nftables does it all. */
  readonly socketLb?: SocketLbStatus;
}

/** What is served at connect(2). */
export interface SocketLbStatus {
  readonly frontends: number;
  /** The control group of the pods; absent: processes in the node's network namespace are served alone. */
  readonly pods?: string;
  /** True: only processes in the agent's own control-group namespace are served; start it in the node's. */
  readonly isPartial?: true;
  /** Why nothing is served. */
  readonly reason?: string;
}

/** The kernel's side of Service traffic: link, rules, connection tracking. */
export interface KernelRules extends AsyncDisposable {
  /** Makes sure that the link is there; DNS and proxies need its address before there is any plan. */
  ensureLink(): Promise<void>;
  /**
   * Names the Service ranges (CIDRs) that are routed to the link where the node has no route to them at all; see
   * {@link LinkPlan.fallbackRoutes}.
   */
  setFallbackRoutes(ranges: readonly string[]): Promise<void>;
  /**
   * Makes the kernel match the plan. Calls made while one is under way are merged: the last plan counts, and all of them
   * resolve when it is in place. A failure rejects, and the plan is tried again in the background until it succeeds or
   * another one comes.
   */
  apply(plan: RulesPlan): Promise<ApplyReport>;
  /** Removes rules, link and routes, and stops. Also what disposing does. */
  cleanup(): Promise<void>;
  readonly status: KernelRulesStatus;
}

const DEFAULT_LINK: LinkPlan = { name: LINUX_DEFAULTS.linkName, addresses: [LINUX_DEFAULTS.linkAddress] };

/** Creates the kernel side. Nothing is touched before the first `ensureLink` or `apply`. */
export function createKernelRules(options: KernelRulesOptions = {}): KernelRules {
  return new KernelRulesImpl(options);
}

class KernelRulesImpl implements KernelRules {
  readonly #runner: Runner;
  #link: LinkPlan;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #clock: Clock;
  readonly #table;
  readonly #options: KernelRulesOptions;
  readonly #stop = new AbortController();
  readonly #degraded = new Map<string, string>();
  /** Everything that touches the kernel goes through here, one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #wanted: RulesPlan = EMPTY_PLAN;
  #pending: Promise<ApplyReport> | undefined;
  #started = false;
  #attempt = 0;
  #lastError: string | undefined;
  #skipped: ApplyReport['skipped'] = [];
  #socketLb: SocketLb | undefined;
  #socketLbError: LinuxError | undefined;

  constructor(options: KernelRulesOptions) {
    this.#options = options;
    this.#runner = options.runner ?? createRunner();
    this.#link = options.link ?? DEFAULT_LINK;
    this.#log = options.log ?? silentLogger;
    this.#metrics = options.metrics ?? noMetrics;
    this.#clock = options.clock ?? systemClock;
    this.#table = createNftTable({
      ...options,
      runner: this.#runner,
      linkAddresses: this.#link.addresses,
      linkName: this.#link.name,
    });
    this.#metrics.observe({ name: 'edgemesh_linux_rules', help: 'Service ports in the nftables table' }, () => {
      return this.#table.ruleCount;
    });
    this.#metrics.observe(
      {
        name: 'edgemesh_linux_socket_frontends',
        help: 'Service addresses served at connect, without translation of packets',
      },
      () => this.#socketLb?.frontends ?? 0,
    );
    this.#metrics.observe({ name: 'edgemesh_linux_elements', help: 'Elements in the nftables table' }, () => {
      return this.#table.elementCount;
    });
  }

  get status(): KernelRulesStatus {
    const state = this.#lastError !== undefined ? 'failing' : this.#started ? 'active' : 'idle';
    return {
      state,
      rules: this.#table.ruleCount,
      elements: this.#table.elementCount,
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
      degraded: [...this.#degraded.values()],
      skipped: this.#skipped,
      ...(this.#options.socketLb !== undefined && {
        socketLb: this.#socketLbStatus(),
      }),
    };
  }

  ensureLink(): Promise<void> {
    return this.#serial(async () => {
      const { changes } = await ensureLink(this.#runner, this.#link);
      if (changes.length > 0) this.#log.info('made the link', { link: this.#link.name, changes });
    });
  }

  setFallbackRoutes(ranges: readonly string[]): Promise<void> {
    this.#link = { ...this.#link, fallbackRoutes: ranges };
    return this.ensureLink();
  }

  apply(plan: RulesPlan): Promise<ApplyReport> {
    this.#wanted = plan;
    if (this.#pending !== undefined) return this.#pending;
    const run = this.#serial(() => {
      // From here on a newer plan needs another run.
      this.#pending = undefined;
      return this.#applyWanted();
    });
    this.#pending = run;
    return run;
  }

  async #applyWanted(): Promise<ApplyReport> {
    const plan = this.#wanted;
    try {
      if (!this.#started) await ensureLink(this.#runner, this.#link);
      const report = await this.#table.apply(plan);
      this.#lastError = undefined;
      this.#attempt = 0;
      this.#reportSkipped(report.skipped);
      await this.#forget(report);
      this.#startLoops();
      await this.#serveSockets();
      return report;
    } catch (error) {
      this.#lastError = messageOf(error);
      this.#retryLater(plan);
      throw error;
    }
  }

  #socketLbStatus(): SocketLbStatus {
    const [lb, error] = [this.#socketLb, this.#socketLbError];
    return {
      frontends: lb?.frontends ?? 0,
      ...(lb?.groups.pods !== undefined && { pods: lb.groups.pods.path }),
      ...(lb?.groups.isWhole === false && { isPartial: true }),
      ...(error !== undefined && { reason: error.message }),
    };
  }

  /** An addition to the rules: where it does not work they do everything. What time may mend is tried again with each heartbeat. */
  async #serveSockets(): Promise<void> {
    const { socketLb: wanted, agentTimeoutSeconds = LINUX_DEFAULTS.agentTimeoutSeconds } = this.#options;
    if (wanted === undefined || this.#socketLbError?.retryable === false) return;
    await this.#trySockets(async () => {
      if (this.#socketLb === undefined) {
        await refuseBesideFirewalld(this.#runner);
        const { open = openSocketLb, ...options } = wanted;
        this.#socketLb = await open({ ...options, agentTimeoutSeconds });
      }
      await this.#socketLb.apply(this.#table.rules(), this.#wanted.exclusions);
    });
  }

  async #trySockets(work: () => Promise<void> | undefined): Promise<void> {
    try {
      await work();
      this.#socketLbError = undefined;
    } catch (error) {
      const failure =
        error instanceof LinuxError ? error : new LinuxError('failed', messageOf(error), { cause: error });
      if (failure.message !== this.#socketLbError?.message) {
        this.#log.info('sockets are not served at connect, nftables does it all', { reason: failure.message });
      }
      this.#socketLbError = failure;
    }
  }

  #retryLater(plan: RulesPlan): void {
    if (this.#stop.signal.aborted) return;
    const delayMs = backoffDelay(this.#attempt++, {
      initialMs: LINUX_DEFAULTS.retryInitialMs,
      maxMs: LINUX_DEFAULTS.retryMaxMs,
    });
    this.#log.warn('the kernel rules could not be applied, will retry', { error: this.#lastError, delayMs });
    this.#clock.after(delayMs, () => {
      if (this.#stop.signal.aborted || this.#wanted !== plan || this.#lastError === undefined) return;
      // A failure schedules the next attempt by itself and has been logged there.
      this.apply(plan).catch(() => undefined);
    });
  }

  #reportSkipped(skipped: ApplyReport['skipped']): void {
    if (skipped.length > 0 && JSON.stringify(skipped) !== JSON.stringify(this.#skipped)) {
      this.#log.warn('some Service ports are left to user space', { count: skipped.length, first: skipped[0] });
    }
    this.#skipped = skipped;
  }

  async #forget(report: ApplyReport): Promise<void> {
    const flows = this.#started ? staleFlows(report.touched) : this.#flowsOfPredecessor();
    if (flows.length === 0) return;
    try {
      const { skipped } = await forgetFlows(this.#runner, flows);
      if (skipped > 0) this.#log.warn('too many UDP flows to forget at once', { skipped });
      this.#degraded.delete('conntrack');
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error;
      if (!this.#degraded.has('conntrack')) this.#log.warn('cannot forget UDP flows', { error: error.message });
      this.#degraded.set('conntrack', `UDP clients may stick to removed endpoints: ${error.message}`);
    }
  }

  /** Flows to the listeners of an agent that ran before: its ports may differ from ours. */
  #flowsOfPredecessor(): StaleFlows[] {
    return this.#link.addresses.map((from) => ({ family: from.includes(':') ? 6 : 4, from }));
  }

  #startLoops(): void {
    if (this.#started) return;
    this.#started = true;
    const beat = async () => {
      await this.#table.beat();
      // While the table cannot be brought up to date its rules run out, and sockets must not know better.
      if (this.#lastError !== undefined) return;
      if (this.#socketLbError === undefined) await this.#trySockets(() => this.#socketLb?.beat());
      if (this.#socketLbError?.retryable) await this.#serveSockets();
    };
    const verify = async () => {
      await ensureLink(this.#runner, this.#link);
      await this.#table.verify();
    };
    this.#loop('kernel-rules heartbeat', this.#options.heartbeatIntervalMs ?? LINUX_DEFAULTS.heartbeatIntervalMs, beat);
    this.#loop('kernel-rules verify', this.#options.verifyIntervalMs ?? LINUX_DEFAULTS.verifyIntervalMs, verify);
  }

  #loop(name: string, intervalMs: number, work: () => Promise<unknown>): void {
    const signal = this.#stop.signal;
    const run = async () => {
      for (;;) {
        await sleep(intervalMs, this.#clock, signal);
        if (signal.aborted) return;
        try {
          await this.#serial(work);
          this.#degraded.delete(name);
        } catch (error) {
          if (!this.#degraded.has(name))
            this.#log.warn('background work failed', { work: name, error: messageOf(error) });
          this.#degraded.set(name, `${name}: ${messageOf(error)}`);
        }
      }
    };
    detach(name, this.#log, run());
  }

  #serial<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#queue.then(() => {
      if (this.#stop.signal.aborted) throw new LinuxError('aborted', 'the kernel rules have been cleaned up');
      return work();
    });
    this.#queue = run.catch(() => undefined);
    return run;
  }

  async cleanup(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    await this.#queue;
    this.#started = false;
    this.#socketLb?.[Symbol.dispose]();
    const results = await Promise.allSettled([this.#table.remove(), removeLink(this.#runner, this.#link.name)]);
    for (const result of results) {
      // Without the tool nothing of ours can be there.
      const absent =
        result.status === 'rejected' && result.reason instanceof LinuxError && result.reason.code === 'missing-tool';
      if (result.status === 'rejected' && !absent) throw result.reason;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cleanup();
  }
}

/**
 * firewalld lets in and on what was translated, whatever its zones say. A connection that goes to a pod or to our listener from the
 * start would need their permission.
 */
async function refuseBesideFirewalld(runner: Runner): Promise<void> {
  const { code } = await runner.run('nft', ['-t', 'list', 'table', 'inet', 'firewalld']);
  if (code === 0)
    throw new LinuxError('unsupported', 'firewalld, which runs here, only lets through what was translated');
}
