export { createDiscovery, type Discovery, type DiscoveryOptions } from './discovery.ts';
export type { LayerTrust } from './layer.ts';
export type { DiscoveryStatus, KindStatus, SourceStatus } from './status.ts';
