import type { RuleFrontend, ServiceRule } from '@edgemesh/core';
import { LinuxError } from '../errors.ts';
import type { Runner } from '../exec.ts';
import { LINUX_DEFAULTS } from '../options.ts';

/** UDP flows to forget: those to a frontend that were translated to `from` (or not at all, where `from` is the frontend). */
export interface StaleFlows {
  readonly family: 4 | 6;
  /** Address of the frontend; absent for node ports. */
  readonly address?: string;
  /** Port of the frontend; absent: all. */
  readonly port?: number;
  /** Where answers would come from. Absent: flows to the frontend, wherever they went. */
  readonly from?: string;
}

/**
 * The UDP flows that a change of rules leaves behind. TCP needs nothing: its connections end by themselves. A UDP client
 * keeps its port, and as long as it sends, the old translation (or the absence of one) would live on.
 */
export function staleFlows(
  touched: readonly { readonly before?: ServiceRule; readonly after?: ServiceRule }[],
): StaleFlows[] {
  const flows: StaleFlows[] = [];
  for (const { before, after } of touched) {
    if ((before ?? after)?.protocol !== 'UDP') continue;
    const now = new Set(after === undefined ? [] : targets(after));
    const gone = before === undefined ? [] : targets(before).filter((target) => !now.has(target));
    for (const frontend of before?.frontends ?? []) {
      for (const from of gone) flows.push({ ...place(before as ServiceRule, frontend), from });
    }
    if (before !== undefined && (now.size === 0 || targets(before).length > 0)) continue;
    // Served, or refused, from now on: whoever has been sending into the void must hear of it with the next datagram.
    for (const frontend of after?.frontends ?? []) {
      const spot = place(after as ServiceRule, frontend);
      flows.push(spot.address === undefined ? spot : { ...spot, from: spot.address });
    }
  }
  return flows;
}

function targets(rule: ServiceRule): string[] {
  const listener = rule.tunnelled > 0 && rule.listener !== undefined ? [rule.listener.address] : [];
  return [...new Set([...rule.routable.map((endpoint) => endpoint.address), ...listener])];
}

function place(rule: ServiceRule, frontend: RuleFrontend): StaleFlows {
  const base = { family: rule.family, port: frontend.port };
  return frontend.kind === 'address' ? { ...base, address: frontend.address } : base;
}

/** What became of it. */
export interface ForgetReport {
  readonly commands: number;
  /** Flows beyond the limit of one change: they die by the kernel's own timeout. */
  readonly skipped: number;
}

/**
 * Deletes the flows from the connection tracking table.
 * @throws LinuxError `missing-tool` when conntrack is not installed: report it as degraded, rules work without.
 */
export async function forgetFlows(runner: Runner, flows: readonly StaleFlows[]): Promise<ForgetReport> {
  const taken = flows.slice(0, LINUX_DEFAULTS.maxForgottenFlows);
  for (const flow of taken) {
    const args = ['-D', '-f', flow.family === 4 ? 'ipv4' : 'ipv6', '-p', 'udp'];
    if (flow.port !== undefined) args.push('--orig-port-dst', String(flow.port));
    if (flow.address !== undefined) args.push('--orig-dst', flow.address);
    if (flow.from !== undefined) args.push('--reply-src', flow.from);
    const result = await runner.run('conntrack', args);
    // Exit 1 with "0 flow entries": nothing to delete is a success.
    if (result.code === 0 || /0 flow entries/.test(result.stderr)) continue;
    const missing = /exec of .* failed|not found/i.test(result.stderr);
    throw new LinuxError(missing ? 'missing-tool' : 'failed', `conntrack -D failed: ${result.stderr.trim()}`, {
      command: `conntrack ${args.join(' ')}`,
      stderr: result.stderr,
      exitCode: result.code,
    });
  }
  return { commands: taken.length, skipped: flows.length - taken.length };
}
