export type { PolicyFlow } from './judge.ts';
export {
  type AddressBlock,
  type Allow,
  type IsolatedPod,
  type PolicyPlan,
  type PortRange,
  planPolicies,
} from './planner.ts';
export {
  createNetworkPolicies,
  type NetworkPolicies,
  type NetworkPoliciesOptions,
  type NetworkPoliciesStatus,
  type NftRunner,
} from './policies.ts';
export { renderPolicies } from './render.ts';
