export { createDnsServer, type DnsServer, type DnsStatus } from './dns-server.ts';
export { DnsError, type DnsErrorCode, type DnsErrorPlace } from './errors.ts';
export { parseResolvConf } from './forward/resolv-conf.ts';
export type { UpstreamHealth, UpstreamState, UpstreamTarget } from './forward/upstream.ts';
export type { UpstreamStatus } from './forward/upstream-set.ts';
export {
  type AutopathOptions,
  CACHE_DEFAULTS,
  type CacheOptions,
  type DnsServerDeps,
  type DnsServerOptions,
  LIMITS,
  type Limits,
  type ListenAddress,
  type PodMode,
} from './options.ts';
export type { ListenerStatus, Transport } from './server/listeners.ts';
export { SCHEMA_VERSION } from './zone/zone.ts';
