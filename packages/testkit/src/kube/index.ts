export type { Access, AccessRule } from './api/access.ts';
export type { FaultMatch, FaultOptions, Faults } from './api/faults.ts';
export { builtinKinds, customKind, type KindRegistry, type KindSpec } from './api/kinds.ts';
export {
  createKubeApi,
  type KubeApi,
  type KubeApiOptions,
  parseManifests,
  type RecordedRequest,
  type WatchMatch,
} from './api/kube-api.ts';
export type { ApiMetadata, ApiObject, Manifest } from './api/object.ts';
export type { ApiAnswer, ApiRequest, RequestInfo, Sink } from './api/request.ts';
export type { Status, StatusCause } from './api/status.ts';
export type { Store, StoreEvent } from './api/store.ts';
export type { WatchHandle } from './api/watch.ts';
export type { TlsOptions } from './http-face.ts';
export { kubeApiDefaults } from './options.ts';
