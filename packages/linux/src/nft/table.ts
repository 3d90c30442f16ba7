import {
  type Clock,
  EMPTY_PLAN,
  type Logger,
  type Metrics,
  noMetrics,
  type RulesPlan,
  type ServiceRule,
  silentLogger,
  systemClock,
} from '@edgemesh/core';
import { LinuxError } from '../errors.ts';
import { mustRun, type Runner } from '../exec.ts';
import { LINUX_DEFAULTS } from '../options.ts';
import { type Difference, difference } from './difference.ts';
import { compareListing, listElements, type Mismatch } from './listing.ts';
import { type Element, renderRule } from './render.ts';
import { assertSkeleton, heartbeat, type SkeletonOptions, skeletonOptions } from './skeleton.ts';
import { hairpinElements, rulesOf, type Skipped, stateOf, type TableState, type Touched } from './state.ts';
import { changeStatements, isNothing, rebuildStatements } from './transaction.ts';

export interface NftTableOptions extends Partial<SkeletonOptions> {
  readonly runner: Runner;
  readonly agentTimeoutSeconds?: number;
  /**
   * After how many seconds without the agent everything falls through, routable endpoints included, to whoever comes after
   * us. Set it where kube-proxy runs; leave it out where nobody else could serve. Default: never.
   */
  readonly staleAfterSeconds?: number;
  readonly log?: Logger;
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

/** What an apply did. */
export interface ApplyReport {
  /** `none`: nothing to change. `incremental`: only what differs. `rebuilt`: the whole table was replaced. */
  readonly kind: 'none' | 'incremental' | 'rebuilt';
  readonly touched: readonly Touched[];
  readonly skipped: readonly Skipped[];
  readonly durationMs: number;
}

/** Our nftables table. Calls must not overlap: the owner serialises them. */
export interface NftTable {
  /** Makes the kernel match the plan. */
  apply(plan: RulesPlan): Promise<ApplyReport>;
  /**
   * Refreshes the heartbeat and re-asserts the fixed chains in one small transaction, and rebuilds the table when it was
   * deleted or flushed. True: it had to rebuild.
   */
  beat(): Promise<boolean>;
  /** Compares all elements with what should be there and rebuilds on a difference, which it returns. */
  verify(): Promise<readonly Mismatch[]>;
  /** Deletes the table. Idempotent. */
  remove(): Promise<void>;
  /** The rules in the table, each frontend with one owner: as planned, less what was skipped. */
  rules(): Iterable<ServiceRule>;
  readonly elementCount: number;
  readonly ruleCount: number;
}

/** Creates the manager of the table; the kernel is touched by the first `apply`. */
export function createNftTable(options: NftTableOptions): NftTable {
  const { runner, log = silentLogger, clock = systemClock, metrics = noMetrics } = options;
  const skeleton = skeletonOptions(options);
  const table = skeleton.table;
  const timing = {
    agentTimeoutSeconds: options.agentTimeoutSeconds ?? LINUX_DEFAULTS.agentTimeoutSeconds,
    staleAfterSeconds: options.staleAfterSeconds,
  };
  const rebuilds = metrics.counter({
    name: 'edgemesh_linux_rebuilds_total',
    help: 'Full replacements of the nftables table',
    labels: ['reason'],
  });
  const seconds = metrics.histogram({
    name: 'edgemesh_linux_apply_seconds',
    help: 'Duration of one nftables transaction',
    labels: ['kind'],
    buckets: [0.005, 0.02, 0.05, 0.1, 0.5, 2, 10],
  });
  let state: TableState | undefined;
  let plan: RulesPlan = EMPTY_PLAN;
  let unreadable = '[]';

  const load = (statements: Iterable<string>) => mustRun(runner, 'nft', ['-f', '-'], { input: lines(statements) });

  /** Returns what is in the kernel now. */
  const rebuild = async (reason: string): Promise<TableState> => {
    state = undefined; // unknown until the kernel has taken it
    rebuilds.with(reason).add();
    const next = stateOf(plan);
    await load(rebuildStatements({ ...skeleton, ...timing }, next));
    state = next;
    return next;
  };

  const update = async (current: TableState, diff: Difference): Promise<ApplyReport['kind']> => {
    if (isNothing(diff.change)) {
      diff.commit();
      return 'none';
    }
    state = undefined;
    try {
      await load(changeStatements(table, diff.change));
    } catch (error) {
      if (!(error instanceof LinuxError) || error.code !== 'failed') throw error;
      // Nothing of a failed transaction is kept. Most likely somebody changed our table: replace it as a whole.
      log.warn('nftables refused a change, replacing the table', { table, error: error.message });
      await rebuild('refused');
      return 'rebuilt';
    }
    diff.commit();
    state = current;
    return 'incremental';
  };

  const make = async (): Promise<Omit<ApplyReport, 'durationMs'>> => {
    // A table without rules has nothing to keep, and a rebuild is made part by part.
    const isLoad = state?.entries.size === 0 && plan.rules.length > LINUX_DEFAULTS.rulesPerPart;
    if (state !== undefined && !isLoad) {
      const diff = difference(state, plan);
      return { kind: await update(state, diff), touched: diff.touched, skipped: diff.skipped };
    }
    const made = await rebuild(isLoad ? 'load' : 'start');
    return { kind: 'rebuilt', touched: [...rulesOf(made)].map((after) => ({ after })), skipped: made.skipped };
  };

  return {
    async apply(next) {
      const started = clock.now();
      plan = next;
      const report = await make();
      const durationMs = clock.now() - started;
      seconds.with(report.kind).observe(durationMs / 1000);
      log.debug('applied kernel rules', { kind: report.kind, touched: report.touched.length, durationMs });
      return { ...report, durationMs };
    },
    async beat() {
      if (state === undefined) return false;
      const pulse = heartbeat(table, timing.agentTimeoutSeconds, timing.staleAfterSeconds);
      const flushed = await isFlushed(runner, table);
      if (!flushed) {
        try {
          await load([...assertSkeleton(skeleton), ...pulse]);
          return false;
        } catch (error) {
          if (!(error instanceof LinuxError) || error.code !== 'failed') throw error;
          log.warn('our nftables table was damaged, replacing it', { table, error: error.message });
        }
      } else log.warn('our nftables rules were flushed, replacing the table', { table });
      await rebuild(flushed ? 'flushed' : 'damaged');
      return true;
    },
    async verify() {
      if (state === undefined) return [];
      const mismatches = await compareAll(runner, table, state);
      if (mismatches.length === 0 || JSON.stringify(mismatches) === unreadable) return [];
      log.warn('our nftables table differs from what it should be, replacing it', { table, mismatches });
      await rebuild('differs');
      // What differs right after a replacement is no damage: this nft lists something otherwise than we write it.
      unreadable = JSON.stringify(await compareAll(runner, table, state));
      return mismatches;
    },
    async remove() {
      state = undefined;
      await removeTable(runner, table);
    },
    rules: () => (state === undefined ? [] : rulesOf(state)),
    get elementCount() {
      return state?.elementCount ?? 0;
    },
    get ruleCount() {
      return state === undefined ? 0 : state.entries.size - unadmitted(state);
    },
  };
}

/** Statements, a line each, in pieces of some size: a write for every statement of a change would be many. */
function* lines(statements: Iterable<string>): Generator<string, void, void> {
  let piece = '';
  for (const statement of statements) {
    piece += `${statement}\n`;
    if (piece.length < PIECE_CHARS) continue;
    yield piece;
    piece = '';
  }
  yield piece;
}

const PIECE_CHARS = 64 * 1024;

function unadmitted({ entries, skipped }: TableState): number {
  if (skipped.length === 0) return 0;
  return [...entries.values()].filter(({ admitted }) => admitted === undefined).length;
}

/** Deletes a table of family inet, whoever made it. Idempotent. */
export async function removeTable(runner: Runner, table: string): Promise<void> {
  await mustRun(runner, 'nft', ['-f', '-'], { input: `add table inet ${table}\ndelete table inet ${table}\n` });
}

/**
 * True when our rules are gone although the chains exist. Chain `guarded` may be deleted only when no rule refers to it,
 * and the only one that does is in our table: a check run of deleting it succeeds after a flush. Listing rules instead
 * would make nft 1.0 read every element of the table.
 */
async function isFlushed(runner: Runner, table: string): Promise<boolean> {
  const check = await runner.run('nft', ['-c', 'delete', 'chain', 'inet', table, 'guarded']);
  return check.code === 0;
}

async function compareAll(runner: Runner, table: string, state: TableState): Promise<Mismatch[]> {
  const expected = new Map<string, Element[]>();
  const put = (element: Element) => {
    const list = expected.get(element.set);
    if (list === undefined) expected.set(element.set, [element]);
    else list.push(element);
  };
  for (const rule of rulesOf(state)) for (const element of renderRule(rule).elements) put(element);
  for (const element of state.globals) put(element);
  for (const element of hairpinElements(state)) put(element);
  const mismatches: Mismatch[] = [];
  for (const [set, elements] of expected) {
    if (elements.length > LINUX_DEFAULTS.maxVerifiedElements) continue;
    const kind = /_(live|kernel|slots)$/.test(set) ? 'map' : 'set';
    // A set that is gone altogether is as different as can be.
    const listed = await listElements(runner, table, kind, set).catch((error: unknown) => {
      if (error instanceof LinuxError && error.code === 'failed') return [];
      throw error;
    });
    const mismatch = compareListing(set, elements, listed);
    if (mismatch !== undefined) mismatches.push(mismatch);
  }
  return mismatches;
}
