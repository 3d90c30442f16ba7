import type { Condition, GatewayPlan } from '../model.ts';
import type { ListenerState } from './listener-table.ts';
import type { ListenerSpec } from './open-listener.ts';

/** What an operator looks at first. */
export interface GatewayStatus {
  /** Addresses that the options allow and the node has. */
  readonly addresses: readonly string[];
  readonly ports: readonly {
    readonly id: string;
    readonly kind: string;
    /** Objects that asked for it. */
    readonly owners: readonly string[];
    /** Virtual hosts, or TLS chains with what is done for them. */
    readonly hosts: readonly string[];
    readonly listeners: readonly {
      readonly address: string;
      readonly state: 'open' | 'failed' | 'opening';
      readonly reason?: string;
    }[];
  }[];
  readonly conditions: readonly Condition[];
  /** Not shown for want of room. */
  readonly droppedConditions: number;
  /** Listeners beyond the limit. */
  readonly droppedListeners: number;
  /** Secrets, ConfigMaps and Pods that the plan depends on: `Secret namespace/name`, `Pod namespace/*`. */
  readonly follows: readonly string[];
  /** Client connections of the HTTP engine, and its requests in flight. */
  readonly connections: number;
  readonly requests: number;
}

/** What a status is made of. */
export interface StatusParts {
  readonly plan: GatewayPlan;
  readonly addresses: readonly string[];
  readonly states: readonly ListenerState<ListenerSpec>[];
  readonly overflow: number;
  readonly connections: number;
  readonly requests: number;
}

/** Conditions that a status shows. */
const MAX_SHOWN = 100;

/** Puts the status together. */
export function readGatewayStatus({
  plan,
  addresses,
  states,
  overflow,
  connections,
  requests,
}: StatusParts): GatewayStatus {
  return {
    addresses,
    ports: plan.ports.map((port) => ({
      id: port.id,
      kind: port.kind,
      owners: port.owners,
      hosts: hostsOf(port),
      listeners: states
        .filter(({ spec }) => spec.portId === port.id)
        .map(({ spec, listener, problem }) => ({
          address: spec.host,
          state: listener !== undefined ? 'open' : problem === undefined ? 'opening' : 'failed',
          ...(problem !== undefined && { reason: problem }),
        })),
    })),
    conditions: plan.conditions.slice(0, MAX_SHOWN),
    droppedConditions: plan.droppedConditions + Math.max(0, plan.conditions.length - MAX_SHOWN),
    droppedListeners: overflow,
    follows: plan.follows.map(({ kind, namespace, name = '*' }) => `${kind} ${namespace}/${name}`),
    connections,
    requests,
  };
}

function hostsOf(port: GatewayPlan['ports'][number]): string[] {
  if (port.kind === 'http') return port.table.virtualHosts.flatMap(({ hosts }) => hosts);
  if (port.kind !== 'tls') return [];
  return port.chains.flatMap(({ hosts, handler }) =>
    hosts.map((host) =>
      handler.kind === 'refused' ? `${host} refused: ${handler.reason}` : `${host} ${handler.kind}`,
    ),
  );
}
