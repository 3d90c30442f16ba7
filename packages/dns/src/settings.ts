import { type Cidr, ipVersion, parseCidr } from '@edgemesh/core';
import { DnsError } from './errors.ts';
import type { UpstreamTarget } from './forward/upstream.ts';
import { parseUpstream, type UpstreamRoute } from './forward/upstream-set.ts';
import {
  type AutopathOptions,
  CACHE_DEFAULTS,
  type CacheOptions,
  DEFAULT_CLUSTER_DOMAIN,
  DEFAULT_TTL_SECONDS,
  type DnsServerOptions,
  LIMITS,
  type Limits,
  type ListenAddress,
  type PodMode,
  SYSTEMD_RESOLV_CONF,
} from './options.ts';
import { type Name, parseName } from './wire/name.ts';

/** The options with every default filled in and every value checked. */
export interface Settings {
  readonly listen: readonly ListenAddress[];
  readonly domains: readonly Name[];
  readonly answersZone: boolean;
  readonly upstreams: readonly UpstreamTarget[] | undefined;
  readonly resolvConf: string | undefined;
  readonly systemdResolvConf: string;
  readonly stubs: readonly UpstreamRoute[];
  readonly ttl: number;
  readonly pods: PodMode;
  readonly nameServers: readonly string[] | undefined;
  readonly reverseCidrs: readonly Cidr[];
  readonly autopath: AutopathOptions | undefined;
  readonly searchDomains: readonly Name[];
  readonly cache: Required<CacheOptions>;
  readonly limits: Limits;
}

function invalid(what: string): DnsError {
  return new DnsError('invalid-options', what);
}

/** Reads a domain option. */
function domain(text: string, option: string): Name {
  const name = parseName(text);
  if (name === undefined) throw invalid(`${option}: ${JSON.stringify(text)} is not a domain name`);
  return name;
}

/** Throws `DnsError` with code `invalid-options` that names the option. */
export function readSettings(options: DnsServerOptions): Settings {
  const limits = { ...LIMITS, ...defined(options.limits) };
  for (const [key, value] of Object.entries(limits)) {
    if (!Number.isFinite(value) || value <= 0) throw invalid(`limits.${key} must be a positive number`);
  }
  const autopath = options.autopath === true ? {} : options.autopath || undefined;
  const searchDomains = (autopath?.searchDomains ?? []).map((text) => domain(text, 'autopath.searchDomains'));
  return {
    listen: readListen(options.listen),
    domains: readDomains(options.clusterDomain ?? DEFAULT_CLUSTER_DOMAIN),
    answersZone: options.clusterZone !== 'forward',
    upstreams: options.upstreams?.map(parseUpstream),
    resolvConf: options.resolvConf,
    systemdResolvConf: options.systemdResolvConf ?? SYSTEMD_RESOLV_CONF,
    stubs: Object.entries(options.stubDomains ?? {}).map(([text, targets]) => ({
      domain: domain(text, 'stubDomains'),
      targets: targets.map(parseUpstream),
    })),
    ttl: readTtl(options.ttlSeconds ?? DEFAULT_TTL_SECONDS),
    pods: options.pods ?? 'insecure',
    nameServers: options.nameServerAddresses,
    reverseCidrs: (options.reverseCidrs ?? []).map(readCidr),
    autopath,
    searchDomains: searchDomains.slice(0, limits.maxSearchDomains),
    cache: { ...CACHE_DEFAULTS, ...defined(options.cache) },
    limits,
  };
}

/** Without the keys whose value is undefined, which a spread would let win over defaults. */
function defined<T extends object>(value: T | undefined): Partial<T> {
  return Object.fromEntries(Object.entries(value ?? {}).filter(([, v]) => v !== undefined)) as Partial<T>;
}

function readListen(listen: readonly ListenAddress[]): readonly ListenAddress[] {
  if (listen.length === 0) throw invalid('listen: at least one address is needed');
  for (const { address, port } of listen) {
    if (ipVersion(address.replace(/%.*$/, '')) === 0) throw invalid(`listen: ${address} is not an address`);
    if (!Number.isInteger(port) || port < 0 || port > 65_535) throw invalid(`listen: ${port} is not a port`);
  }
  return listen;
}

function readDomains(option: string | readonly string[]): readonly Name[] {
  const domains = (typeof option === 'string' ? [option] : option).map((text) => domain(text, 'clusterDomain'));
  if (domains.length === 0 || domains.some((name) => name.length === 0)) {
    throw invalid('clusterDomain: at least one domain is needed, and not the root');
  }
  return domains;
}

/** Kubernetes' own bounds (CoreDNS' kubernetes plugin): 0 to 3,600 seconds. */
function readTtl(ttl: number): number {
  if (!Number.isInteger(ttl) || ttl < 0 || ttl > 3_600) throw invalid('ttlSeconds must be an integer from 0 to 3600');
  return ttl;
}

function readCidr(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw invalid(`reverseCidrs: ${JSON.stringify(text)} is not a CIDR`);
  return cidr;
}
