export { createLanProbe, type LanProbe, type LanProbeOptions } from './lan-probe.ts';
export { createPodNetwork, type PodNetwork, type PodNetworkOptions, type PodNetworkStatus } from './network.ts';
export {
  type LanMode,
  lanCandidates,
  type NetworkPlan,
  type NodePath,
  type PlanInput,
  planNetwork,
  type SkipReason,
} from './planner.ts';
export type {
  LanProbePort,
  MeshRanges,
  OpenPackets,
  OwnAddresses,
  PodRoute,
  RouteSurvey,
  RoutesPort,
  TunPort,
  VxlanPort,
} from './types.ts';
