import type { ObjectStatus } from '../model.ts';
import type { NodeReport, PortReport } from './node-report.ts';

/** The Gateway API allows no more addresses in a status. */
const MAX_ADDRESSES = 16;

/**
 * Statuses as all nodes that run the gateway make them true: a listener is programmed where its port is open on some node, and
 * the addresses of a Gateway or an Ingress are those on which one of its ports is open.
 */
export function renderStatuses(
  statuses: readonly ObjectStatus[],
  reports: readonly NodeReport[],
): Omit<ObjectStatus, 'listenerPorts'>[] {
  return statuses.map(({ listenerPorts, ...object }) => {
    if (listenerPorts === undefined) return object;
    const ids = new Set(Object.values(listenerPorts));
    const addresses = addressesOf(
      reports.flatMap((report) => [...ids].flatMap((id) => portOf(report, id)?.open ?? [])),
    );
    if (object.kind === 'Ingress') {
      return { ...object, status: { loadBalancer: { ingress: addresses.map((ip) => ({ ip })) } } };
    }
    const { status } = object;
    const listeners = (status.listeners as readonly ListenerStatus[]).map((listener) =>
      withProgrammed(
        listener,
        Object.hasOwn(listenerPorts, listener.name) ? listenerPorts[listener.name] : undefined,
        reports,
      ),
    );
    const conditions = status.conditions as readonly Condition[];
    const none = listeners.every((listener) => listener.conditions.at(-1)?.status !== 'True');
    const gateway = programmed(
      conditions[0],
      none ? 'no listener is open' : undefined,
      none ? 'Pending' : 'Programmed',
    );
    return {
      ...object,
      status: {
        ...status,
        addresses: addresses.map((value) => ({ type: 'IPAddress', value })),
        conditions: [...conditions, gateway],
        listeners,
      },
    };
  });
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

function withProgrammed(
  listener: ListenerStatus,
  portId: string | undefined,
  reports: readonly NodeReport[],
): ListenerStatus {
  const isGood = listener.conditions.every(({ type, status }) =>
    type === 'Conflicted' ? status === 'False' : status === 'True',
  );
  const valid = isGood && portId !== undefined;
  const problem = valid ? portProblem(portId, reports) : 'the listener is not valid';
  const reason = problem === undefined ? 'Programmed' : valid ? 'Pending' : 'Invalid';
  return { ...listener, conditions: [...listener.conditions, programmed(listener.conditions[0], problem, reason)] };
}

/** Why a port is open nowhere. */
function portProblem(id: string, reports: readonly NodeReport[]): string | undefined {
  const ports = reports.flatMap((report) => portOf(report, id) ?? []);
  if (ports.some(({ open }) => open.length > 0)) return undefined;
  return ports.find(({ problem }) => problem !== undefined)?.problem ?? 'no address of a node is allowed';
}

function portOf({ ports }: NodeReport, id: string): PortReport | undefined {
  return Object.hasOwn(ports, id) ? ports[id] : undefined;
}

/** The same on every node, whatever the order of reports. */
function addressesOf(open: readonly string[]): string[] {
  return [...new Set(open)].sort().slice(0, MAX_ADDRESSES);
}

function programmed(like: Condition | undefined, problem: string | undefined, reason: string): Condition & object {
  return {
    type: 'Programmed',
    status: problem === undefined ? 'True' : 'False',
    reason,
    message: problem ?? '',
    ...(like?.observedGeneration !== undefined && { observedGeneration: like.observedGeneration }),
  } as Condition;
}
