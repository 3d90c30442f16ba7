import { CniError } from '../errors.ts';
import type { CommandResult, Execute } from '../ports.ts';

/** One line of a batch that failed. */
export interface BatchFailure {
  readonly line: string;
  readonly message: string;
}

/** Runs lines of `ip -batch` in one process and tells which of them failed; later lines run all the same. */
export async function ipBatch(execute: Execute, lines: readonly string[]): Promise<BatchFailure[]> {
  const result = await execute('ip', ['-force', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  return failures(result, lines);
}

/** The same inside a network namespace, after kernel settings were written there; unknown settings are skipped. */
export async function ipBatchIn(
  execute: Execute,
  netns: string,
  lines: readonly string[],
  settings: readonly (readonly [string, string])[],
): Promise<BatchFailure[]> {
  // /proc/sys/net shows the namespace of whoever looks.
  const script =
    'while [ $# -gt 1 ]; do { echo "$2" >"/proc/sys/$1"; } 2>/dev/null; shift 2; done; exec ip -force -batch -';
  const args = [`--net=${netns}`, '--', 'sh', '-c', script, 'sh', ...settings.flat()];
  return failures(await execute('nsenter', args, { input: `${lines.join('\n')}\n` }), lines);
}

/** Runs `ip -j` and parses what it says. Undefined where it fails, for a link that does not exist for example. */
export async function ipJson(
  execute: Execute,
  args: readonly string[],
  netns?: string,
): Promise<unknown[] | undefined> {
  const inside = netns === undefined ? [] : [`--net=${netns}`, '--', 'ip'];
  const result = await execute(netns === undefined ? 'ip' : 'nsenter', [...inside, '-j', ...args]);
  if (result.code !== 0) return undefined;
  try {
    const value: unknown = JSON.parse(result.stdout.trim() || '[]');
    return Array.isArray(value) ? value : undefined;
  } catch (cause) {
    throw new CniError('command', 'ip did not answer in JSON: iproute2 is too old', { cause });
  }
}

/** `ip` says what is wrong, then `Command failed -:<line>`. */
function failures(result: CommandResult, lines: readonly string[]): BatchFailure[] {
  if (result.code === 0) return [];
  const found: BatchFailure[] = [];
  let said: string[] = [];
  for (const text of result.stderr.split('\n')) {
    const at = /^Command failed -:(\d+)/.exec(text);
    if (at === null) said.push(text.trim());
    else {
      found.push({ line: lines[Number(at[1]) - 1] ?? '?', message: said.filter(Boolean).join('; ') });
      said = [];
    }
  }
  if (found.length > 0) return found;
  throw new CniError('command', 'ip could not be run', { details: result.stderr.trim().slice(0, 1000) });
}

/** The first failure that matters as the plugin's error. */
export function throwFirst(found: readonly BatchFailure[], mayFail: (failure: BatchFailure) => boolean): void {
  const bad = found.find((failure) => !mayFail(failure));
  if (bad === undefined) return;
  throw new CniError('command', `ip ${bad.line.split(' ').slice(0, 5).join(' ')} failed: ${bad.message}`, {
    details: found.map(({ line, message }) => `ip ${line}: ${message}`).join('\n'),
  });
}
