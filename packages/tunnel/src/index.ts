export * from './errors.ts';
export { createNodeIdentity, loadNodeIdentity, type NodeIdentity } from './identity/index.ts';
export { controlDefaults, type PathOptions, pathDefaults, type RelayLimits, relayDefaults } from './options.ts';
export type { PathTransition } from './paths/machine.ts';
export type { RelayStatus } from './relay/service.ts';
export { createRelayServer, type RelayServer, type RelayServerOptions } from './relay-server.ts';
export { readMeshSecrets, readSecretFile } from './secret-file.ts';
export { createTunnel, type Tunnel, type TunnelDeps, type TunnelOptions } from './tunnel.ts';
export * from './types.ts';
