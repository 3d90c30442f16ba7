import type { KubeObject } from '@edgemesh/core';
import type { ObjectStatus } from '../model.ts';

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

/** A status of an object. */
export function statusOf(object: KubeObject, status: Readonly<Record<string, unknown>>): ObjectStatus {
  const { namespace, name, uid } = object.metadata;
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    ...(namespace !== undefined && { namespace }),
    name,
    ...(typeof uid === 'string' && { uid }),
    status,
  };
}

/** Whether the status of an object has entries of ours, in `parents` or `ancestors`. */
export function ownsEntry({ status }: KubeObject, list: 'parents' | 'ancestors', controllerName: string): boolean {
  const entries = (status as Readonly<Record<string, unknown>> | null | undefined)?.[list];
  return Array.isArray(entries) && entries.some((entry) => entry?.controllerName === controllerName);
}
