import { type Logger, messageOf, noMetrics, type ServiceId, silentLogger, systemClock } from '@edgemesh/core';
import { createLoopGuard } from './forward/loop-guard.ts';
import { createRecursor, type Recursor } from './forward/recursor.ts';
import { followResolvConf, type ResolvConf } from './forward/resolv-conf.ts';
import { createSecureRandom } from './forward/secure-random.ts';
import type { UpstreamTarget } from './forward/upstream.ts';
import { createUpstreamSet, parseUpstream, type UpstreamSet, type UpstreamStatus } from './forward/upstream-set.ts';
import { createDnsMetrics } from './metrics.ts';
import type { DnsServerDeps, DnsServerOptions, ListenAddress } from './options.ts';
import { createAnswerCounters } from './resolve/counters.ts';
import { createResolver } from './resolve/resolver.ts';
import { containFaults } from './server/answering.ts';
import { type ListenerStatus, openListeners } from './server/listeners.ts';
import { reachesListener } from './server/own-address.ts';
import { readSettings, type Settings } from './settings.ts';
import { formatName } from './wire/name.ts';
import { createZoneState, type ZoneState } from './zone/zone-state.ts';

/** What a running server tells about itself. */
export interface DnsStatus {
  readonly listeners: readonly ListenerStatus[];
  readonly upstreams: readonly UpstreamStatus[];
  /** Why the resolv.conf gives no upstream, where it does not. */
  readonly resolvConfError?: string;
  readonly zone: {
    readonly domains: readonly string[];
    readonly mode: 'answer' | 'forward';
    /** Revision of the Catalog in use; 0: nothing known yet, cluster names get SERVFAIL. */
    readonly revision: number;
    readonly encodedAnswers: number;
  };
  readonly cache: { readonly entries: number; readonly bytes: number; readonly inflight: number };
}

/** A running DNS server. */
export interface DnsServer extends AsyncDisposable {
  /** Bound addresses with their real ports, one per wanted address; UDP and TCP share them. */
  readonly addresses: readonly ListenAddress[];
  status(): DnsStatus;
  /** Makes answers anew whose addresses come from `addressOf`: of these Services, or of all. */
  invalidate(services?: Iterable<ServiceId>): void;
}

/**
 * Starts a DNS server: answers the cluster zone from the Catalog, forwards and caches everything else. Resolves when
 * every listener is bound. Rejects with a `DnsError` that names address and port when one can not be, or with code
 * `invalid-options`.
 */
export async function createDnsServer(options: DnsServerOptions, deps: DnsServerDeps): Promise<DnsServer> {
  const settings = readSettings(options);
  const { limits } = settings;
  const clock = deps.clock ?? systemClock;
  const random = deps.random ?? createSecureRandom();
  const log = (deps.log ?? silentLogger).child({ module: 'dns' });
  const metrics = createDnsMetrics(deps.metrics ?? noMetrics);
  const loops = createLoopGuard(random);
  const bound: ListenAddress[] = [];
  const isSelf = (target: UpstreamTarget) => reachesListener(target, bound);

  const addressOf = deps.addressOf && guarded(deps.addressOf, log);
  const zone = createZoneState(settings, deps.view, { addressOf, clock });
  const recursor = createRecursor({ clock, metrics, limits, cache: settings.cache });
  const upstreams = createUpstreamSet({ limits, clock, random, log, metrics, loops, isSelf });
  const context = settings.answersZone ? zone.context : undefined;
  const find = { recursor, upstreams, maxChase: limits.maxChase, context: zone.context };
  const pure = createResolver({
    clock,
    limits,
    store: zone.store,
    recursor,
    upstreams,
    loops,
    counters: createAnswerCounters(metrics),
    zone: context && { context },
    autopath: settings.autopath && {
      ...find,
      searchDomains: settings.searchDomains,
      namespaceOf: settings.autopath.namespaceOf ?? zone.podNamespace,
    },
  });
  const resolver = containFaults(pure, log, limits.maxUdpPayload);
  const listeners = await openListeners(settings.listen, { resolver, limits, metrics, clock, random, log }).catch(
    (error: unknown) => {
      zone.close();
      throw error;
    },
  );
  bound.push(...listeners.addresses);
  zone.setNameServers(bound);
  // Only now is it known which upstream addresses are our own.
  const resolvConf = await feedUpstreams(settings, upstreams, { clock, log });
  metrics.observeSizes({
    zone: () => zone.store.size,
    cacheEntries: () => recursor.cache.entries,
    cacheBytes: () => recursor.cache.bytes,
    inflight: () => recursor.inflight,
  });
  let disposed: Promise<void> | undefined;
  const dispose = async () => {
    resolvConf?.[Symbol.dispose]();
    await listeners[Symbol.asyncDispose]();
    recursor.close();
    upstreams.close();
    zone.close();
  };
  return {
    addresses: listeners.addresses,
    status: () => statusOf({ settings, listeners, upstreams, resolvConf, zone, recursor }),
    invalidate: (services) => zone.invalidate(services),
    [Symbol.asyncDispose]() {
      disposed ??= dispose();
      return disposed;
    },
  };
}

/** The hook is foreign code on the way of every answer: when it throws, the endpoint's own address stands. */
function guarded(addressOf: NonNullable<DnsServerDeps['addressOf']>, log: Logger): typeof addressOf {
  return (service, endpoint) => {
    try {
      return addressOf(service, endpoint);
    } catch (error) {
      log.error('addressOf failed', { service: service.id, error: messageOf(error) });
      return undefined;
    }
  };
}

/** Configured upstreams, else those of the resolv.conf; stub domains beside them. */
async function feedUpstreams(
  settings: Settings,
  upstreams: UpstreamSet,
  deps: Pick<Required<DnsServerDeps>, 'clock' | 'log'>,
): Promise<ResolvConf | undefined> {
  const apply = (targets: readonly UpstreamTarget[]) =>
    upstreams.replace([...settings.stubs, ...(targets.length > 0 ? [{ domain: [], targets }] : [])]);
  apply(settings.upstreams ?? []);
  if (settings.upstreams !== undefined || settings.resolvConf === undefined) return undefined;
  return followResolvConf({
    ...deps,
    path: settings.resolvConf,
    systemdPath: settings.systemdResolvConf,
    pollMs: settings.limits.resolvConfPollMs,
    onChange(nameservers) {
      deps.log.info('upstreams taken from resolv.conf', { path: settings.resolvConf, nameservers });
      apply(nameservers.map(parseUpstream));
    },
  });
}

interface Parts {
  readonly settings: Settings;
  readonly listeners: { readonly status: readonly ListenerStatus[] };
  readonly upstreams: UpstreamSet;
  readonly resolvConf: ResolvConf | undefined;
  readonly zone: ZoneState;
  readonly recursor: Recursor;
}

function statusOf({ settings, listeners, upstreams, resolvConf, zone, recursor }: Parts): DnsStatus {
  return {
    listeners: listeners.status,
    upstreams: upstreams.status,
    ...(resolvConf?.error === undefined ? {} : { resolvConfError: resolvConf.error }),
    zone: {
      domains: settings.domains.map(formatName),
      mode: settings.answersZone ? 'answer' : 'forward',
      revision: zone.context().catalog.revision,
      encodedAnswers: zone.store.size,
    },
    cache: { entries: recursor.cache.entries, bytes: recursor.cache.bytes, inflight: recursor.inflight },
  };
}
