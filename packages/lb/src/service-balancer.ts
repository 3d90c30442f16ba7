import type { Balancer, Endpoint } from '@edgemesh/core';
import { type BalancerDeps, createBalancer } from './create-balancer.ts';
import type { LbPolicy } from './policy.ts';
import { type LocalityOptions, withLocality } from './with-locality.ts';
import { withOutlierEjection } from './with-outlier-ejection.ts';

/** What a whole Service balancer takes from outside. */
export interface ServiceBalancerDeps extends BalancerDeps {
  /** Where given, near endpoints are preferred; health comes from outlier ejection. */
  readonly locality?: Omit<LocalityOptions, 'isHealthy'>;
  readonly onEjected?: (endpoint: Endpoint) => void;
}

/** Makes the whole balancer of one Service port: the policy, its outlier ejection, and locality around them. */
export function createServiceBalancer(policy: LbPolicy, deps: ServiceBalancerDeps = {}): Balancer {
  const plain = createBalancer(policy.balancer, deps);
  const outlier = policy.outlier && withOutlierEjection(plain, policy.outlier, deps);
  if (deps.locality === undefined) return outlier ?? plain;
  return withLocality(outlier ?? plain, {
    ...deps.locality,
    ...(outlier && { isHealthy: (endpoint) => outlier.ejectedCount === 0 || !outlier.isEjected(endpoint) }),
  });
}
