import { DiscoveryError } from '../errors.ts';
import { MAX_PROBLEMS_PER_OBJECT } from '../options.ts';

/** A normalised object and what was wrong with it. No `value`: the object as a whole is unusable. */
export interface Normalised<T> {
  readonly value?: T;
  readonly problems: readonly DiscoveryError[];
}

/** Collects the problems of one object under its name. */
export interface Report {
  readonly problems: readonly DiscoveryError[];
  readonly namespace: string;
  readonly name: string;
  problem(field: string, message: string): void;
}

/** A report for the object `namespace/name` of a kind; parts that are not known are empty. */
export function createReport(kind: string, namespace: string, name: string): Report {
  const problems: DiscoveryError[] = [];
  return {
    problems,
    namespace,
    name,
    problem(field, message) {
      if (problems.length >= MAX_PROBLEMS_PER_OBJECT) return;
      const where = `${kind} ${namespace ? `${namespace}/` : ''}${name || '(unnamed)'}`;
      problems.push(
        new DiscoveryError('invalid-object', `${where}: ${field ? `${field} ` : ''}${message}`, {
          object: { kind, namespace, name, field },
        }),
      );
    },
  };
}
