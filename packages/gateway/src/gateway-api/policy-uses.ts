import type { KubeObject } from '@edgemesh/core';
import type { ObjectStatus } from '../model.ts';
import { namespaceOf } from '../read/conditions.ts';
import { GATEWAY_GROUP } from './listener.ts';
import { ownsEntry, statusOf, Verdict } from './status.ts';

/** The API allows no more ancestors in a status. */
const MAX_ANCESTORS = 16;

/** What is found out about a policy. */
export interface PolicyVerdicts {
  readonly accepted: Verdict;
  /** ResolvedRefs. */
  readonly resolved: Verdict;
}

/** Which policies count for which Gateways. */
export interface PolicyUses {
  use(policy: KubeObject, gateways: ReadonlySet<KubeObject>): PolicyVerdicts;
  /** Of all these policies: those that are used, and those whose status wrongly says so. */
  statuses(policies: readonly KubeObject[], controllerName: string): ObjectStatus[];
}

/** Collects the uses of one compilation. */
export function createPolicyUses(): PolicyUses {
  const uses = new Map<KubeObject, PolicyVerdicts & { readonly gateways: Set<KubeObject> }>();
  return {
    use(policy, gateways) {
      const known = uses.get(policy) ?? { accepted: new Verdict(), resolved: new Verdict(), gateways: new Set() };
      uses.set(policy, known);
      for (const gateway of gateways) known.gateways.add(gateway);
      return known;
    },
    statuses: (policies, controllerName) =>
      policies.flatMap((policy) => {
        const used = uses.get(policy);
        if (used === undefined || used.gateways.size === 0) {
          return ownsEntry(policy, 'ancestors', controllerName) ? [statusOf(policy, { ancestors: [] })] : [];
        }
        const conditions = [used.accepted.as(policy, 'Accepted'), used.resolved.as(policy, 'ResolvedRefs')];
        const ancestors = [...used.gateways].slice(0, MAX_ANCESTORS).map((gateway) => ({
          ancestorRef: {
            group: GATEWAY_GROUP,
            kind: 'Gateway',
            namespace: namespaceOf(gateway),
            name: gateway.metadata.name,
          },
          controllerName,
          conditions,
        }));
        return [statusOf(policy, { ancestors })];
      }),
  };
}
