import {
  type BackoffOptions,
  type Clock,
  type Logger,
  type Metrics,
  messageOf,
  noMetrics,
  type Random,
  silentLogger,
  systemClock,
} from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { createDiscoveryMetrics } from '../metrics.ts';
import {
  DEFAULT_REQUEST_TIMEOUT_MS,
  MAX_FOLLOWED,
  META_PROBE_MS,
  MIN_META_REQUEST_TIMEOUT_MS,
  MISSING_REPROBE_MS,
  REFLECTOR_BACKOFF,
  SECOND_LOOK_MS,
} from '../options.ts';
import type { Source } from '../source.ts';
import { createKubeClient } from './client.ts';
import { createTransports, type KubeConnection } from './connection.ts';
import type { FollowRef } from './follow.ts';
import { CORE_RESOURCES, ENDPOINTS, forMetaServer, type ResourceSpec } from './resources.ts';
import { oneAtATime } from './serial-client.ts';
import { createSession, type Session, type SessionOptions } from './session.ts';

/** What to read, from where and how often; defaults in `options.ts`. */
export interface KubernetesSourceOptions {
  /** `apiserver`: a real API server. `metaserver`: KubeEdge's edge API, which needs a different client (METASERVER.md). */
  readonly mode: 'apiserver' | 'metaserver';
  readonly connection: KubeConnection;
  /** Default `kubernetes`. */
  readonly name?: string;
  /** Sources of the same cluster share this. */
  readonly origin?: string;
  /** What to read. Default {@link CORE_RESOURCES}; add `ISTIO_RESOURCES`, `GATEWAY_API_RESOURCES`, `PODS` as needed. */
  readonly resources?: readonly ResourceSpec[];
  /** Objects per page. Default 500, through a metaServer 200. */
  readonly pageLimit?: number;
  /** Milliseconds for a list page and for the headers of a watch. Default 20,000; a metaServer needs more than 10,000. */
  readonly requestTimeoutMs?: number;
  /** Milliseconds between full lists at an API server. Default 600,000. */
  readonly relistMs?: number;
  /** Range in milliseconds between lists through a metaServer. Default 30,000 to 60,000. */
  readonly metaRelistMs?: { readonly min: number; readonly max: number };
  /** A watch without a byte for this long is reopened, milliseconds. Default 180,000. */
  readonly watchIdleMs?: number;
  /** Range in milliseconds between looks at the link while the cloud is out of reach. Default 5,000 to 10,000. */
  readonly probeMs?: { readonly min: number; readonly max: number };
  /** Milliseconds until a list that shrank to nothing is asked for again. Default 5,000. */
  readonly secondLookMs?: number;
  /** Milliseconds until a resource that the server does not have is looked for again. Default 240,000. */
  readonly missingReprobeMs?: number;
  /** Waits after failures, milliseconds. Default 500 doubling to 30,000. */
  readonly backoff?: BackoffOptions;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Logger;
  readonly metrics?: Metrics;
}

/** A source that reads a cluster. */
export interface KubernetesSource extends Source {
  /** Follows exactly these objects beside `resources`; forgets the others. Throws `config` above 256. */
  follow(refs: readonly FollowRef[]): void;
}

/** Makes a source; nothing is read before it runs. Throws DiscoveryError `config` for options that cannot work. */
export function createKubernetesSource(options: KubernetesSourceOptions): KubernetesSource {
  const { mode, name = 'kubernetes' } = options;
  const requestTimeoutMs = options.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS;
  if (mode === 'metaserver' && requestTimeoutMs < MIN_META_REQUEST_TIMEOUT_MS) {
    const least = MIN_META_REQUEST_TIMEOUT_MS;
    throw new DiscoveryError(
      'config',
      `a metaServer answers after up to 10 s: requestTimeoutMs must be at least ${least}`,
    );
  }
  const resources = planResources(options);
  const full: SessionOptions = {
    ...options,
    name,
    resources,
    probeMs: options.probeMs ?? META_PROBE_MS,
    timings: {
      secondLookMs: options.secondLookMs ?? SECOND_LOOK_MS,
      missingReprobeMs: options.missingReprobeMs ?? MISSING_REPROBE_MS,
      backoff: options.backoff ?? REFLECTOR_BACKOFF,
    },
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
    log: (options.log ?? silentLogger).child({ source: name }),
    metrics: createDiscoveryMetrics(options.metrics ?? noMetrics),
  };
  let followed: readonly FollowRef[] | undefined;
  let session: Session | undefined;
  return {
    name,
    ...(options.origin !== undefined && { origin: options.origin }),
    follow(refs) {
      if (refs.length > MAX_FOLLOWED) {
        throw new DiscoveryError('config', `at most ${MAX_FOLLOWED} objects can be followed, not ${refs.length}`);
      }
      followed = refs;
      session?.follow(refs);
    },
    async run(sink, signal) {
      sink.report('connecting');
      using transports = await createTransports(options.connection).catch((error: unknown) => {
        sink.report('offline', messageOf(error));
        throw error;
      });
      const client = createKubeClient({ transports, requestTimeoutMs, clock: full.clock });
      const own = createSession(full, sink, mode === 'metaserver' ? oneAtATime(client) : client);
      session = own;
      if (followed) own.follow(followed);
      await aborted(signal);
      session = undefined;
      own.stop();
    },
  };
}

/** METASERVER.md 5.9: its EndpointSlices are unusable, v1 Endpoints are right. */
function planResources(options: KubernetesSourceOptions): readonly ResourceSpec[] {
  const asked = options.resources ?? CORE_RESOURCES;
  if (options.mode === 'apiserver') return asked;
  const wanted = asked.map(forMetaServer);
  const others = wanted.filter(({ plural }) => plural !== 'endpointslices' && plural !== 'endpoints');
  return others.length === wanted.length ? wanted : [...others, ENDPOINTS];
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
