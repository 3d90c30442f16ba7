import { type Balancer, type Clock, type Endpoint, endpointKey } from '@edgemesh/core';
import { isExcluded, keysOf, memoPerArray } from './candidates.ts';
import { LB_DEFAULTS } from './options.ts';
import type { ClientIpPolicy } from './policy.ts';

interface Binding {
  readonly key: string;
  readonly expiresAt: number;
}

const byKey = memoPerArray((candidates) => {
  const keys = keysOf(candidates);
  return new Map<string, Endpoint>(candidates.map((endpoint, i) => [keys[i] as string, endpoint]));
});

/**
 * Session affinity by client address. Each use prolongs a binding by the whole timeout (as kube-proxy does). A binding
 * outlives changes of other endpoints; when its own endpoint is gone or excluded, the client is placed anew.
 */
export function createClientIp(policy: ClientIpPolicy, otherwise: Balancer, clock: Clock): Balancer {
  const timeoutMs = policy.timeoutSeconds * 1000;
  const maxClients = policy.maxClients ?? LB_DEFAULTS.affinityMaxClients;
  // Insertion order is the order of last use, hence of expiry: the first entry is the first to go.
  const bindings = new Map<string, Binding>();

  const bind = (sourceIp: string, key: string, now: number) => {
    bindings.delete(sourceIp);
    bindings.set(sourceIp, { key, expiresAt: now + timeoutMs });
    for (const [oldest, binding] of bindings) {
      if (binding.expiresAt > now && bindings.size <= maxClients) break;
      bindings.delete(oldest);
    }
  };

  return {
    pick(candidates, flow, exclude) {
      const { sourceIp } = flow;
      if (sourceIp === undefined) return otherwise.pick(candidates, flow, exclude);
      const now = clock.now();
      const bound = bindings.get(sourceIp);
      if (bound !== undefined && bound.expiresAt > now && !isExcluded(bound.key, exclude)) {
        const endpoint = byKey(candidates).get(bound.key);
        if (endpoint !== undefined) {
          bind(sourceIp, bound.key, now);
          return endpoint;
        }
      }
      const placed = otherwise.pick(candidates, flow, exclude);
      if (placed !== undefined) bind(sourceIp, endpointKey(placed), now);
      return placed;
    },
    report: (endpoint, outcome) => otherwise.report?.(endpoint, outcome),
    begin: (endpoint) => otherwise.begin?.(endpoint),
    end: (endpoint) => otherwise.end?.(endpoint),
  };
}
