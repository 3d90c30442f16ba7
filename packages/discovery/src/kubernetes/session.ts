import type { Clock, GroupKind, Logger, Random } from '@edgemesh/core';
import type { DiscoveryMetrics } from '../metrics.ts';
import { NORMALISED_KINDS } from '../normalize/any.ts';
import {
  DEFAULT_META_PAGE_LIMIT,
  DEFAULT_PAGE_LIMIT,
  DEFAULT_RELIST_MS,
  DEFAULT_WATCH_IDLE_MS,
  WATCH_TIMEOUT_SECONDS,
} from '../options.ts';
import type { SourceSink } from '../source.ts';
import { createApiMachine } from './api-machine.ts';
import type { KubeClient } from './client.ts';
import { FOLLOWED_KINDS, type FollowRef, followKey, keepFollowed, resourceToFollow } from './follow.ts';
import { createLinkMonitor, type LinkMonitor } from './link-monitor.ts';
import { between, type ReflectorTimings } from './machine.ts';
import { createMetaMachine } from './meta-machine.ts';
import { createReflector, type Reflector, type ReflectorHooks } from './reflector.ts';
import { kindOf, type ResourceSpec } from './resources.ts';

const SLICES = NORMALISED_KINDS.endpointSlice;

/** What a session needs of the source's options, defaults filled in. */
export interface SessionOptions {
  readonly mode: 'apiserver' | 'metaserver';
  readonly name: string;
  readonly resources: readonly ResourceSpec[];
  readonly pageLimit?: number;
  readonly relistMs?: number;
  readonly metaRelistMs?: { readonly min: number; readonly max: number };
  readonly watchIdleMs?: number;
  readonly probeMs: { readonly min: number; readonly max: number };
  readonly timings: ReflectorTimings;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: DiscoveryMetrics;
}

/** One run of a source: its reflectors. */
export interface Session {
  follow(refs: readonly FollowRef[]): void;
  stop(): void;
}

/** Starts a reflector per resource, and the link monitor of a metaServer. */
export function createSession(options: SessionOptions, sink: SourceSink, client: KubeClient): Session {
  const { mode, clock, log, metrics, random } = options;
  const reflectors = new Map<string, Reflector>();
  const followed = new Map<string, Reflector>();
  const unlisted = new Set<GroupKind>(options.resources.map(kindOf));
  const errors = new Map<string, string>();
  const timeouts = createTimeouts(random);
  let link: LinkMonitor | undefined;
  const all = () => [...reflectors.values(), ...followed.values()];

  const report = () => {
    const first = errors.entries().next().value;
    if (first === undefined) sink.report('live');
    else sink.report('offline', `${first[0]}: ${first[1]}`);
  };
  const listed = (kind: GroupKind) => {
    // slices of an earlier snapshot would hide the Endpoints that are read now
    if (kind === 'Endpoints' && !reflectors.has(SLICES)) sink.retain(SLICES, new Set());
    if (!unlisted.delete(kind) || unlisted.size > 0) return;
    // a snapshot may hold kinds that are no longer read; what is followed in parts is not part of this
    const read = new Set([...reflectors.keys(), ...FOLLOWED_KINDS]);
    for (const held of sink.held()) if (!read.has(held)) sink.retain(held, new Set());
    sink.synced();
  };
  const start = (resource: ResourceSpec, key: string, group: Map<string, Reflector>) => {
    const kind = kindOf(resource);
    const id = resource.scope === undefined ? kind : key;
    const hooks: ReflectorHooks = {
      onListed: () => listed(kind),
      onMissing: () => {
        const { fallback } = resource;
        if (fallback && !reflectors.has(kindOf(fallback))) {
          unlisted.add(kindOf(fallback));
          start(fallback, kindOf(fallback), reflectors);
        }
      },
      onHealth(state, error) {
        if (state === 'live') errors.delete(id);
        else errors.set(id, error ?? 'unknown');
        report();
      },
      onCloud: () => link?.sawCloud(),
      onAskLink: () => link?.doubt(),
    };
    const shared = { resource, client, sink, hooks, clock, log, metrics, source: options.name };
    const reflector =
      mode === 'metaserver'
        ? createReflector({ ...shared, machine: metaMachine(options, resource, timeouts) })
        : createReflector({ ...shared, machine: apiMachine(options, resource, timeouts) });
    group.set(key, reflector);
  };

  if (mode === 'metaserver') {
    link = createLinkMonitor({
      client,
      clock,
      nextProbeMs: () => between(options.probeMs, random),
      log,
      onVerdict: (online) => {
        for (const reflector of all()) reflector.dispatch({ type: 'link', online });
      },
      onUp: () => {
        for (const reflector of all()) reflector.dispatch({ type: 'link-up' });
      },
    });
  }
  for (const resource of options.resources) start(resource, kindOf(resource), reflectors);
  if (options.resources.length === 0) sink.synced();
  return {
    follow(refs) {
      // what is read as a whole needs no following
      const wanted = new Map(refs.filter(({ kind }) => !reflectors.has(kind)).map((ref) => [followKey(ref), ref]));
      for (const [key, reflector] of followed) {
        if (wanted.has(key)) continue;
        reflector.stop();
        followed.delete(key);
        errors.delete(key);
      }
      for (const kind of FOLLOWED_KINDS) {
        if (!reflectors.has(kind)) sink.retain(kind, keepFollowed([...wanted.values()], kind));
      }
      for (const [key, ref] of wanted) {
        if (!followed.has(key)) start(resourceToFollow(ref, mode), key, followed);
      }
      report();
    },
    stop() {
      link?.stop();
      for (const reflector of all()) reflector.stop();
    },
  };
}

function apiMachine(options: SessionOptions, resource: ResourceSpec, nextTimeoutSeconds: () => number) {
  return createApiMachine({
    resource,
    pageLimit: options.pageLimit ?? DEFAULT_PAGE_LIMIT,
    relistMs: options.relistMs ?? DEFAULT_RELIST_MS,
    watchIdleMs: options.watchIdleMs ?? DEFAULT_WATCH_IDLE_MS,
    timings: options.timings,
    nextTimeoutSeconds,
    random: options.random,
  });
}

function metaMachine(options: SessionOptions, resource: ResourceSpec, nextTimeoutSeconds: () => number) {
  return createMetaMachine({
    resource,
    pageLimit: options.pageLimit ?? DEFAULT_META_PAGE_LIMIT,
    ...(options.metaRelistMs && { relistMs: options.metaRelistMs }),
    timings: options.timings,
    nextTimeoutSeconds,
    random: options.random,
  });
}

/**
 * METASERVER.md 5.7: watches that are alike to the byte share one registration and starve each other. Every attempt takes
 * the next number of the range, from a random start, so none repeats within 301 attempts.
 */
export function createTimeouts(random: Random): () => number {
  const { min, max } = WATCH_TIMEOUT_SECONDS;
  const count = max - min + 1;
  let next = Math.floor(random() * count);
  return () => min + (next++ % count);
}
