import { canonicalIp } from '@edgemesh/core';
import type { ObjectStatus } from '../model.ts';
import type { ListenerState } from './listener-table.ts';
import type { ListenerSpec } from './open-listener.ts';

/** What one node has made of the ports that statuses speak of. */
export interface NodeReport {
  readonly ports: Readonly<Record<string, PortReport>>;
}

/** One port of a node. */
export interface PortReport {
  /** Addresses on which it is open. */
  readonly open: readonly string[];
  /** Why it is open on none. */
  readonly problem?: string;
}

/** Problems are for people; the rest is in the node's own status and log. */
const MAX_PROBLEM_LENGTH = 200;

/** What this node reports. */
export function reportOf(
  statuses: readonly ObjectStatus[],
  states: readonly ListenerState<ListenerSpec>[],
): NodeReport {
  const ids = new Set(statuses.flatMap(({ listenerPorts }) => Object.values(listenerPorts ?? {})));
  const ports = [...ids].sort().map((id): [string, PortReport] => {
    const own = states.filter(({ spec }) => spec.portId === id);
    const open = own.filter(({ listener }) => listener !== undefined).map(({ spec }) => spec.host);
    const problem = open.length > 0 ? undefined : own.find((state) => state.problem !== undefined)?.problem;
    return [id, { open: open.sort(), ...(problem !== undefined && { problem: problem.slice(0, MAX_PROBLEM_LENGTH) }) }];
  });
  return { ports: Object.fromEntries(ports) };
}

/** Reads what another node wrote. Whatever it is: what cannot be understood is not there. */
export function parseReport(text: string): NodeReport {
  const ports = fieldsOf(fieldsOf(parseJson(text)).ports);
  const entries = Object.entries(ports).map(([id, value]): [string, PortReport] => {
    const { open, problem } = fieldsOf(value);
    const addresses = (Array.isArray(open) ? open : []).flatMap((item) =>
      typeof item === 'string' ? (canonicalIp(item) ?? []) : [],
    );
    return [
      id,
      { open: addresses, ...(typeof problem === 'string' && { problem: problem.slice(0, MAX_PROBLEM_LENGTH) }) },
    ];
  });
  return { ports: Object.fromEntries(entries) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a node of another version
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
