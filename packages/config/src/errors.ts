/** One thing that is wrong, or odd, at one place of a configuration. */
export interface ConfigProblem {
  /** Dotted path with list indexes, `modules.edgeTunnel.relayNodes[0].nodeName`; empty for the text as a whole. */
  readonly path: string;
  /** What is expected and what was found. */
  readonly message: string;
  /** Line in the text, from 1; absent when it did not come from the text. */
  readonly line?: number;
}

/**
 * | code | meaning |
 * | --- | --- |
 * | `invalid` | the text was read and is wrong; `problems` has everything that is |
 * | `unreadable` | the file is missing, is no regular file, is too large, or may not be read |
 */
export type ConfigErrorCode = 'invalid' | 'unreadable';

/** The one error of this package. Never retryable by itself: somebody has to change the file. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code: ConfigErrorCode;
  readonly retryable = false;
  /** All of them, in the order of the text, at least one. */
  readonly problems: readonly ConfigProblem[];

  constructor(code: ConfigErrorCode, problems: readonly ConfigProblem[], options: { readonly cause?: unknown } = {}) {
    super(problems.map(formatProblem).join('\n'), options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.problems = problems;
  }
}

/** One line for people: `modules.edgeDNS.listenPort (line 7): expected ..., found ...`. */
export function formatProblem(problem: ConfigProblem): string {
  const place = problem.line === undefined ? '' : `line ${problem.line}`;
  if (problem.path === '') return place === '' ? problem.message : `${place}: ${problem.message}`;
  return `${problem.path}${place === '' ? '' : ` (${place})`}: ${problem.message}`;
}
