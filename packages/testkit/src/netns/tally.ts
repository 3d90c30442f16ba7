import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LabError } from './errors.ts';
import type { LabMachine } from './lab.ts';

export interface TallyOptions {
  readonly address: string;
  readonly port: number;
  /** Default `tcp`. */
  readonly protocol?: 'tcp' | 'udp';
  /** Connections, one after the other, or datagrams from fresh ports. Default 1. */
  readonly count?: number;
  /** For each answer. Default 1,000 ms. */
  readonly timeoutMs?: number;
}

/**
 * Connects again and again to responders (`tcp` and `udp` ports of {@link startResponder}) and counts who answered.
 * Failures count under their error code (`ECONNREFUSED`), silence under `timeout`.
 */
export async function tally(machine: LabMachine, options: TallyOptions): Promise<Readonly<Record<string, number>>> {
  const full = { protocol: 'tcp', count: 1, timeoutMs: 1_000, ...options };
  const timeoutMs = 10_000 + full.count * full.timeoutMs;
  const source = fileURLToPath(new URL('./tally-main.ts', import.meta.url));
  const file = existsSync(source) ? source : fileURLToPath(new URL('./tally-main.js', import.meta.url));
  const result = await machine.exec(process.execPath, [file, JSON.stringify(full)], { timeoutMs });
  if (result.code !== 0) throw new LabError('command', `tally failed: ${result.stderr}`);
  return JSON.parse(result.stdout) as Record<string, number>;
}
