import type { KubeObject } from '@edgemesh/core';

/** A metav1.Condition without its time, which whoever writes it back knows. */
export interface StatusCondition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
}

/** A condition of the present generation of an object. */
export function condition(
  object: KubeObject,
  type: string,
  holds: boolean,
  reason: string,
  message = '',
): StatusCondition {
  const { generation } = object.metadata;
  return {
    type,
    status: holds ? 'True' : 'False',
    reason,
    message,
    ...(typeof generation === 'number' && { observedGeneration: generation }),
  };
}

/** The first problem wins; without one the condition holds. */
export class Verdict {
  private problem: { readonly reason: string; readonly message: string } | undefined;

  fail(reason: string, message: string): void {
    this.problem ??= { reason, message };
  }

  get failed(): boolean {
    return this.problem !== undefined;
  }

  as(object: KubeObject, type: string, goodReason: string = type): StatusCondition {
    const { problem } = this;
    return condition(object, type, problem === undefined, problem?.reason ?? goodReason, problem?.message);
  }
}
