import { fileURLToPath } from 'node:url';
import { type LabMachine, pollUntil } from '@edgemesh/testkit/netns';

export interface SteadyPlan {
  readonly host: string;
  readonly port: number;
  readonly connections: number;
  /** Where the connections come from; by default what the kernel chooses. */
  readonly localAddress?: string;
  /** Of each connection, both ways. */
  readonly bytesPerSecond: number;
  /** New connections per second beside the long-lived ones. */
  readonly shortPerSecond?: number;
  readonly shortTimeoutMs?: number;
}

/** A connection that failed, with the wall clock of its begin and its end, in milliseconds. */
export interface SteadyError {
  readonly since: number;
  readonly at: number;
  readonly kind: 'long' | 'short';
  readonly error: string;
}

/** How the connections stand; counts since the start, stalls and errors since the report before. */
export interface SteadyReport {
  /** Milliseconds since the start. */
  readonly at: number;
  readonly open: number;
  /** Half-closed, and all bytes came back. */
  readonly done: number;
  readonly sent: number;
  readonly back: number;
  /** Chunks that differ from what was sent. */
  readonly corrupted: number;
  readonly maxStallMs: number;
  readonly shortDone: number;
  readonly errors: readonly SteadyError[];
}

/** Connections to an echo Service whose every byte is checked, in a process of their own. */
export interface SteadyTraffic {
  readonly reports: readonly SteadyReport[];
  last(): SteadyReport;
  /** Resolves when bytes that were sent after the call have come back on the sum of the connections. */
  flows(timeoutMs?: number): Promise<void>;
  /** Resolves with the errors of the long-lived connections when none of these is left. */
  untilLost(timeoutMs: number): Promise<SteadyReport['errors']>;
  /** Half-closes everything and returns the last report. */
  finish(): Promise<SteadyReport>;
}

/** Starts the traffic on a machine and waits for the first bytes that come back. */
export async function startSteady(machine: LabMachine, plan: SteadyPlan): Promise<SteadyTraffic> {
  const file = fileURLToPath(new URL('./steady-main.ts', import.meta.url));
  const process = machine.node(file, [JSON.stringify(plan)]);
  let seen = 0;
  const reports: SteadyReport[] = [];
  const read = () => {
    for (; seen < process.lines.length; seen++) {
      const line = process.lines[seen] as string;
      if (!line.startsWith('{')) throw new Error(`traffic: ${line}`);
      reports.push(JSON.parse(line) as SteadyReport);
    }
    return reports;
  };
  const last = () => {
    const report = read().at(-1);
    if (report === undefined) throw new Error('no report yet');
    return report;
  };
  await pollUntil(() => read().some((report) => report.back > 0 || report.shortDone > 0), {
    what: 'the first bytes',
    timeoutMs: 15_000,
  });
  return {
    get reports() {
      return read();
    },
    last,
    async flows(timeoutMs = 30_000) {
      const { length } = read(); // what the next two reports say was sent after this call, in part at least
      await pollUntil(() => read().length >= length + 2, { what: 'two reports' });
      const { sent } = last();
      await pollUntil(() => last().back > sent, { what: 'bytes to flow', timeoutMs });
    },
    async untilLost(timeoutMs) {
      await pollUntil(() => last().open === 0, { what: 'all connections to be lost', timeoutMs });
      return read().flatMap((report) => report.errors.filter(({ kind }) => kind === 'long'));
    },
    async finish() {
      process.signal('SIGTERM');
      await process.exited;
      return last();
    },
  };
}
