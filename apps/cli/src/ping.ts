import { setTimeout as sleep } from 'node:timers/promises';
import { AgentError, ask, type PingAnswer } from './agent-client.ts';
import { milliseconds } from './text.ts';

const INTERVAL_MS = 1_000;

export interface PingOptions {
  readonly admin: string;
  readonly node: string;
  readonly count: number;
  readonly json: boolean;
  readonly print: (line: string) => void;
  /** Between two pings, in milliseconds. Default 1000. */
  readonly intervalMs?: number;
}

/** Pings one after the other; true when all were answered. The path may get better while one watches. */
export async function ping(options: PingOptions): Promise<boolean> {
  const { admin, node, count, json, print, intervalMs = INTERVAL_MS } = options;
  const times: number[] = [];
  for (let number = 1; number <= count; number++) {
    if (number > 1) await sleep(intervalMs);
    try {
      const answer = await ask<PingAnswer>(admin, '/ping', { node });
      times.push(answer.rttMs);
      print(json ? JSON.stringify(answer) : `${node}: ${milliseconds(answer.rttMs)}, ${answer.path ?? 'no path'}`);
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      print(json ? JSON.stringify({ node, error: error.message }) : `${node}: ${error.message}`);
    }
  }
  if (!json) print(summary(times, count));
  return times.length === count;
}

function summary(times: readonly number[], count: number): string {
  const answered = `${times.length} of ${count} answered`;
  if (times.length === 0) return answered;
  const sorted = times.toSorted((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)];
  return `${answered}: best ${milliseconds(sorted[0])}, median ${milliseconds(middle)}, worst ${milliseconds(sorted.at(-1))}`;
}
