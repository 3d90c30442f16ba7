export { classifyList } from './classify.ts';
export {
  inClusterConnection,
  type KubeConnection,
  type ServerConnection,
} from './connection.ts';
export type { FollowRef } from './follow.ts';
export {
  CORE_RESOURCES,
  ENDPOINT_SLICES,
  ENDPOINTS,
  GATEWAY_API_RESOURCES,
  INGRESS_RESOURCES,
  ISTIO_RESOURCES,
  NAMESPACES,
  NODES,
  PODS,
  type ResourceSpec,
  SERVICES,
} from './resources.ts';
export { createKubernetesSource, type KubernetesSource, type KubernetesSourceOptions } from './source.ts';
export type { StatusPublication, StatusWriter, StatusWriterState, WantedStatus } from './status/types.ts';
export { createStatusWriter, type StatusWriterOptions } from './status/writer.ts';
export type { KubeconfigConnection } from './transport.ts';
