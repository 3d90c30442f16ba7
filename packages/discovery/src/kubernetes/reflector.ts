import { type Clock, detach, type KubeObject, type Logger, type Timer } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import type { DiscoveryMetrics } from '../metrics.ts';
import { isFields } from '../normalize/read.ts';
import type { SourceSink } from '../source.ts';
import type { KubeClient } from './client.ts';
import type { ListRequest, ReflectorAction, ReflectorEvent, ReflectorMachine, WatchRequest } from './machine.ts';
import { apiVersionOf, kindOf, pathOf, type ResourceSpec, selectorsOf } from './resources.ts';

/** What a reflector tells the source it belongs to. */
export interface ReflectorHooks {
  readonly onListed: () => void;
  readonly onMissing: () => void;
  readonly onHealth: (state: 'live' | 'offline', error: string | undefined) => void;
  readonly onCloud: () => void;
  readonly onAskLink: () => void;
}

/** What a reflector needs. */
export interface ReflectorOptions<S extends { readonly deadline?: number | undefined }> {
  readonly machine: ReflectorMachine<S>;
  readonly resource: ResourceSpec;
  readonly client: KubeClient;
  readonly sink: SourceSink;
  readonly hooks: ReflectorHooks;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: DiscoveryMetrics;
  readonly source: string;
}

/** A running reflector: the sockets and timers around a machine. */
export interface Reflector {
  dispatch(event: ReflectorEvent): void;
  stop(): void;
}

/** Starts a reflector at once. */
export function createReflector<S extends { readonly deadline?: number | undefined }>(
  options: ReflectorOptions<S>,
): Reflector {
  const { machine, resource, client, sink, hooks, clock, log, metrics, source } = options;
  const kind = kindOf(resource);
  const queue: ReflectorEvent[] = [];
  let state = machine.initial;
  let running = false;
  let stopped = false;
  let timer: Timer | undefined;
  let listing: AbortController | undefined;
  let watching: AbortController | undefined;
  let lastError: string | undefined;

  const dispatch = (event: ReflectorEvent) => {
    if (stopped) return;
    queue.push(event);
    // an action may dispatch (a list that is not believed): finish the running step first
    if (running) return;
    running = true;
    try {
      for (let next = queue.shift(); next !== undefined && !stopped; next = queue.shift()) {
        const step = machine.step(state, next, clock.now());
        state = step.state;
        for (const action of step.actions) perform(action);
      }
    } finally {
      running = false;
    }
    schedule();
  };
  const schedule = () => {
    timer?.cancel();
    timer = undefined;
    if (stopped || state.deadline === undefined) return;
    timer = clock.after(Math.max(0, state.deadline - clock.now()), () => dispatch({ type: 'wake' }));
  };
  const perform = (action: ReflectorAction) => {
    switch (action.type) {
      case 'list':
        if (action.reason) metrics.relists.with(source, kind, action.reason).add();
        return startList(action.request);
      case 'watch':
        return startWatch(action.request);
      case 'close-watch':
        watching?.abort();
        watching = undefined;
        return;
      case 'replace': {
        const { objects, authority } = action;
        const list = { kind, objects, authority, ...(resource.scope && { scope: resource.scope }) };
        if (sink.replace(list) === 'second-look') dispatch({ type: 'second-look' });
        return;
      }
      case 'upsert':
        sink.upsert(action.object);
        return;
      case 'remove': {
        const { namespace, name, resourceVersion } = action.object.metadata;
        sink.remove({ kind, name, ...(namespace && { namespace }), ...(resourceVersion && { resourceVersion }) });
        return;
      }
      case 'confirm':
        return sink.confirm(kind);
      case 'listed':
        return hooks.onListed();
      case 'missing':
        log.debug('resource is not served', { kind });
        return hooks.onMissing();
      case 'health':
        // an outage repeats itself with every attempt; once is enough
        if (action.error !== undefined && action.error !== lastError)
          log.warn('resource cannot be read', { kind, error: action.error });
        lastError = action.error;
        return hooks.onHealth(action.state, action.error);
      case 'watch-restart':
        return metrics.watchRestarts.with(source, kind, action.reason).add();
      case 'ghost':
        return metrics.ghosts.with(source, kind).add();
      case 'saw-cloud':
        return hooks.onCloud();
      case 'ask-link':
        return hooks.onAskLink();
    }
  };
  const startList = (request: ListRequest) => {
    listing?.abort();
    const own = new AbortController();
    listing = own;
    const query = selectorsOf(resource);
    if (request.limit !== undefined) query.set('limit', String(request.limit));
    if (request.continue !== undefined) query.set('continue', request.continue);
    const done = client.list(pathOf(resource, request.version), query, own.signal).then(
      (page) => {
        if (listing !== own) return;
        const items = page.items.map((item) => {
          const whole = named(item, resource, request.version);
          // a list of 100,000 endpoints must not be in memory raw as a whole
          return sink.prepare?.(kind, whole) ?? whole;
        });
        dispatch({ type: 'page', page: { ...page, items } });
      },
      (error: unknown) => {
        if (listing === own) dispatch({ type: 'list-failed', error: asError(error) });
      },
    );
    detach(`list ${kind}`, log, done);
  };
  const startWatch = (request: WatchRequest) => {
    watching?.abort();
    const own = new AbortController();
    watching = own;
    const query = selectorsOf(resource);
    query.set('watch', 'true');
    query.set('timeoutSeconds', String(request.timeoutSeconds));
    if (request.bookmarks) query.set('allowWatchBookmarks', 'true');
    if (request.resourceVersion !== undefined) query.set('resourceVersion', request.resourceVersion);
    const tell = (event: ReflectorEvent) => {
      if (watching === own) dispatch(event);
    };
    const handlers = {
      onOpen: () => tell({ type: 'watch-opened' }),
      onBytes: () => tell({ type: 'watch-bytes' }),
      onEvent: ({
        type,
        object,
      }: {
        type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
        object: KubeObject;
      }) => {
        const whole = type === 'ERROR' ? object : named(object, resource, request.version);
        tell({ type: 'watch-event', event: { type, object: whole } });
      },
    };
    const ended = (error?: DiscoveryError) => {
      if (watching !== own) return;
      watching = undefined;
      dispatch({ type: 'watch-ended', ...(error && { error }) });
    };
    const done = client.watch(pathOf(resource, request.version), query, handlers, own.signal).then(
      () => ended(),
      (error: unknown) => ended(asError(error)),
    );
    detach(`watch ${kind}`, log, done);
  };

  schedule();
  return {
    dispatch,
    stop() {
      stopped = true;
      timer?.cancel();
      listing?.abort();
      watching?.abort();
    },
  };
}

/** Items of a typed list carry neither kind nor apiVersion, and a metaServer's may be wrong: the request knows. */
function named(item: unknown, resource: ResourceSpec, version: string): KubeObject {
  if (!isFields(item)) return item as KubeObject;
  const metadata = (isFields(item.metadata) ? item.metadata : { name: '' }) as KubeObject['metadata'];
  return { ...item, metadata, apiVersion: apiVersionOf(resource, version), kind: resource.kind };
}

function asError(error: unknown): DiscoveryError {
  return error instanceof DiscoveryError
    ? error
    : new DiscoveryError('api-unreachable', String(error), { cause: error });
}
