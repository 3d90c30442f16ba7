import type { ObjectStatus } from '../model.ts';

/**
 * A status with `Programmed`: what is open, and what is not and why.
 * @param portProblem undefined where the port is open on some address
 */
export function withProgrammed(
  status: ObjectStatus,
  portProblem: (portId: string) => string | undefined,
): ObjectStatus {
  const { listenerPorts } = status;
  if (listenerPorts === undefined) return status;
  const listeners = (status.status.listeners as readonly ListenerStatus[]).map((listener) => {
    const portId = Object.hasOwn(listenerPorts, listener.name) ? listenerPorts[listener.name] : undefined;
    const good = listener.conditions.every(({ type, status: s }) =>
      type === 'Conflicted' ? s === 'False' : s === 'True',
    );
    const problem = !good || portId === undefined ? 'the listener is not valid' : portProblem(portId);
    const reason = problem === undefined ? 'Programmed' : portId === undefined || !good ? 'Invalid' : 'Pending';
    return { ...listener, conditions: [...listener.conditions, programmed(listener.conditions[0], problem, reason)] };
  });
  const conditions = status.status.conditions as readonly Condition[];
  const none = listeners.every((l) => l.conditions.at(-1)?.status !== 'True');
  const gateway = programmed(conditions[0], none ? 'no listener is open' : undefined, none ? 'Pending' : 'Programmed');
  return { ...status, status: { ...status.status, conditions: [...conditions, gateway], listeners } };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly observedGeneration?: number;
}
interface ListenerStatus {
  readonly name: string;
  readonly conditions: readonly Condition[];
}

function programmed(like: Condition | undefined, problem: string | undefined, reason: string) {
  return {
    type: 'Programmed',
    status: problem === undefined ? 'True' : 'False',
    reason,
    message: problem ?? '',
    ...(like?.observedGeneration !== undefined && { observedGeneration: like.observedGeneration }),
  };
}
