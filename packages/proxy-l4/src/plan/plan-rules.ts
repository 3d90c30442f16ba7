import {
  type Catalog,
  type Endpoint,
  parseCidr,
  type RulesPlan,
  type Service,
  type ServiceId,
  type ServiceRule,
} from '@edgemesh/core';
import { type PlanContext, planService } from './plan-service.ts';

/**
 * Taking turns needs a chain with a counter for each Service port, and nft takes tens of seconds to load 10,000 of those; chains for
 * random choice are shared by all. In a cluster beyond this size nobody counts turns, and kube-proxy chooses at random anyway.
 */
export const MAX_ROUND_ROBIN_SERVICES = 1_000;

/** The kernel's part of all Services. Pure and deterministic: the order of events that made the catalog does not matter. */
export function planRules(catalog: Catalog, context: PlanContext): RulesPlan {
  return createRulePlanner(context).plan(catalog);
}

/** Plans again and again for one context. What has not changed keeps its rules, by identity. */
export interface RulePlanner {
  /** Costs two map lookups per unchanged Service. */
  plan(catalog: Catalog): RulesPlan;
  /** The functions of the context may answer otherwise now, for one Service or for all: nodes, reachability, listeners, policies. */
  forget(id?: ServiceId): void;
}

interface Remembered {
  readonly id: ServiceId;
  /** Undefined: to be planned anew. */
  service: Service | undefined;
  endpoints: readonly Endpoint[] | undefined;
  rules: readonly ServiceRule[];
  /** The plan that had it last. */
  seen: number;
}

/** Creates a planner. */
export function createRulePlanner(context: PlanContext): RulePlanner {
  const memory = new Map<ServiceId, Remembered>();
  const atRandom: PlanContext = {
    ...context,
    pickOf: (service, port) => (context.pickOf?.(service, port) === 'listener' ? 'listener' : 'random'),
  };
  let many = false;
  let round = 0;
  /** What is remembered, by id: the order of the rules. */
  let sorted: readonly Remembered[] = [];
  let rules: readonly ServiceRule[] = [];

  const forget = (id?: ServiceId) => {
    for (const one of id === undefined ? memory.values() : [memory.get(id)]) {
      if (one !== undefined) one.service = undefined;
    }
  };
  /** Plans what has changed. True when anything did. */
  const update = ({ services, endpoints }: Catalog): boolean => {
    const how = many ? atRandom : context;
    let changed = false;
    let members = memory.size;
    round++;
    for (const [id, service] of services) {
      let one = memory.get(id);
      if (one === undefined) {
        one = { id, service: undefined, endpoints: undefined, rules: [], seen: round };
        memory.set(id, one);
      } else members--;
      one.seen = round;
      const list = endpoints.get(id);
      if (one.service === service && one.endpoints === list) continue;
      one.service = service;
      one.endpoints = list;
      one.rules = planService(service, list ?? [], how);
      changed = true;
    }
    if (members > 0) for (const [id, one] of memory) if (one.seen !== round) memory.delete(id);
    if (members > 0 || memory.size !== sorted.length) {
      sorted = [...memory.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
      changed = true;
    }
    return changed;
  };

  return {
    forget,
    plan(catalog) {
      // Back only well below the limit: a cluster at the limit must not change all rules with each Service.
      const limit = many ? MAX_ROUND_ROBIN_SERVICES * 0.9 : MAX_ROUND_ROBIN_SERVICES;
      if (many !== catalog.services.size > limit) {
        many = !many;
        forget();
      }
      if (update(catalog)) rules = sorted.flatMap((one) => one.rules);
      return {
        rules,
        exclusions: context.exclusions,
        internalSources: (catalog.nodes.get(context.nodeName)?.podCIDRs ?? []).filter((cidr) => parseCidr(cidr)),
      };
    },
  };
}
