export type {
  ControlPlaneOptions,
  ManagedControlPlane,
  NetworkEvents,
  PinConflict,
  RelayEntry,
  WatchNetwork,
} from './control/index.ts';
export * from './errors.ts';
export { createNodeIdentity, loadNodeIdentity, type NodeIdentity } from './identity/index.ts';
export {
  type ControlTunables,
  controlDefaults,
  type PathOptions,
  pathDefaults,
  type RelayLimits,
  relayDefaults,
  type SessionOptions,
  sessionDefaults,
} from './options.ts';
export type { PathTransition } from './paths/machine.ts';
export { type PortMappingOptions, type PortMappingStatus, portMappingDefaults } from './port-mapping/index.ts';
export type { NatKind } from './punch/nat-kind.ts';
export { type PunchOptions, punchDefaults } from './punch/punch-options.ts';
export type { NatStatus, Reachability } from './reach/nat-watch.ts';
export { type ReachOptions, reachDefaults } from './reach/options.ts';
export type { RelayStatus } from './relay/circuit-book.ts';
export { createRelayServer, type RelayServer, type RelayServerOptions } from './relay-server.ts';
export { readMeshSecrets, readSecretFile } from './secret-file.ts';
export { createTunnel } from './tunnel.ts';
export type { Tunnel, TunnelDeps, TunnelOptions } from './tunnel-api.ts';
export * from './types.ts';
