import {
  backoffDelay,
  type CatalogView,
  type Clock,
  type Logger,
  type Metrics,
  messageOf,
  noMetrics,
  silentLogger,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import { POLICY_DEFAULTS } from '../options.ts';
import { type PolicyFlow, PolicyJudge } from './judge.ts';
import { planPolicies } from './planner.ts';
import { renderPolicies } from './render.ts';

/** Port: runs `nft`; a runner of @edgemesh/linux is one. */
export interface NftRunner {
  run(
    command: string,
    args: readonly string[],
    options?: { readonly input?: string },
  ): Promise<{ readonly stdout: string; readonly stderr: string; readonly code: number }>;
}

export interface NetworkPoliciesOptions {
  readonly view: CatalogView;
  readonly nodeName: string;
  readonly runner: NftRunner;
  readonly table?: string;
  /** Lets bridged packets pass the rules, for pods of the standard bridge plugin (net/bridge/bridge-nf-call-iptables = 1). */
  readonly filterBridged?: () => Promise<void>;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

export interface NetworkPoliciesStatus {
  readonly isolatedPods: number;
  readonly problems: readonly string[];
  /** Why the kernel does not have the rules yet; the rules of before stay in force. */
  readonly error: string | undefined;
}

/** NetworkPolicies of the pods of this node, in the kernel. Disposing removes the table. */
export interface NetworkPolicies extends AsyncDisposable {
  status(): NetworkPoliciesStatus;
  /** What policies say of a connection that the agent makes itself; the rules in the kernel do not see those. */
  permits(flow: PolicyFlow): boolean;
  /** Resolves when what is known now has been tried. */
  settled(): Promise<void>;
}

const KINDS = ['Pod', 'Namespace', 'NetworkPolicy.networking.k8s.io'];

/** Starts with a first apply and then follows the catalog. */
export async function createNetworkPolicies(options: NetworkPoliciesOptions): Promise<NetworkPolicies> {
  const policies = new KernelPolicies(options);
  await policies.settled();
  return policies;
}

class KernelPolicies implements NetworkPolicies {
  readonly #options: NetworkPoliciesOptions;
  readonly #table: string;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #unsubscribe: () => void;
  readonly #applies;
  #rendered = '';
  #judge = new PolicyJudge({ pods: [], problems: [] });
  #status: NetworkPoliciesStatus = { isolatedPods: 0, problems: [], error: undefined };
  #timer: Timer | undefined;
  #failures = 0;
  #work: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: NetworkPoliciesOptions) {
    const { log = silentLogger, clock = systemClock, metrics = noMetrics, table = POLICY_DEFAULTS.table } = options;
    this.#options = options;
    this.#table = table;
    this.#log = log;
    this.#clock = clock;
    this.#applies = metrics.counter({
      name: 'edgemesh_cni_policy_applies_total',
      help: 'Replacements of the NetworkPolicy table.',
      labels: ['result'],
    });
    metrics.observe(
      { name: 'edgemesh_cni_isolated_pods', help: 'Pods of this node that a NetworkPolicy isolates.' },
      () => this.#status.isolatedPods,
    );
    this.#unsubscribe = options.view.subscribe((_catalog, change) => {
      if (KINDS.some((kind) => change.objects.has(kind))) this.#later(POLICY_DEFAULTS.settleMs);
    });
    this.#enqueue();
  }

  status(): NetworkPoliciesStatus {
    return this.#status;
  }

  permits(flow: PolicyFlow): boolean {
    return this.#judge.permits(flow);
  }

  async settled(): Promise<void> {
    if (this.#timer !== undefined) this.#enqueue();
    await this.#work;
  }

  #later(ms: number): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(ms, () => this.#enqueue());
  }

  #enqueue(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#work = this.#work.then(() => this.#apply());
  }

  /** Never rejects. A transaction that fails changes nothing: the rules of before go on. */
  async #apply(): Promise<void> {
    if (this.#closed) return;
    const { view, nodeName, runner, filterBridged } = this.#options;
    const plan = planPolicies(view.current, nodeName);
    this.#judge = new PolicyJudge(plan);
    const script = renderPolicies(plan, this.#table);
    const about = { isolatedPods: plan.pods.length, problems: plan.problems };
    if (script === this.#rendered) {
      this.#status = { ...about, error: undefined };
      return;
    }
    try {
      if (plan.pods.length > 0) await filterBridged?.();
      const { code, stderr } = await runner.run('nft', ['-f', '-'], { input: script });
      if (code !== 0) throw new Error(`nft refused the rules: ${stderr.trim().slice(0, 500)}`);
      this.#rendered = script;
      this.#failures = 0;
      this.#status = { ...about, error: undefined };
      this.#applies.with('ok').add();
      for (const problem of plan.problems) this.#log.warn('a NetworkPolicy is not as written', { problem });
    } catch (error) {
      const { retryInitialMs: initialMs, retryMaxMs: maxMs } = POLICY_DEFAULTS;
      this.#status = { ...about, error: messageOf(error) };
      this.#applies.with('failed').add();
      this.#log.warn('NetworkPolicies were not applied, will retry', { error: messageOf(error) });
      this.#later(backoffDelay(this.#failures++, { initialMs, maxMs }));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unsubscribe();
    this.#timer?.cancel();
    await this.#work;
    const { code, stderr } = await this.#options.runner.run('nft', ['-f', '-'], {
      input: `table inet ${this.#table}\ndelete table inet ${this.#table}\n`,
    });
    if (code !== 0) this.#log.warn('the NetworkPolicy table could not be removed', { error: stderr.trim() });
  }
}
