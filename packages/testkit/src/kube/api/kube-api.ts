import { type Clock, systemClock } from '@edgemesh/core';
import { parseAllDocuments } from 'yaml';
import { createHttpFace, type TlsOptions } from '../http-face.ts';
import { kubeApiDefaults } from '../options.ts';
import { type Access, createAccess } from './access.ts';
import { createAddressPool } from './defaults.ts';
import { createFaultInjector, type Faults, pause } from './faults.ts';
import { createHandler, type Recorder } from './handler.ts';
import { builtinKinds, createKindRegistry, type KindRegistry, type KindSpec } from './kinds.ts';
import { type ApiObject, isRecord, type Manifest } from './object.ts';
import type { ApiAnswer, ApiRequest, RequestInfo } from './request.ts';
import { createStore, type Store } from './store.ts';
import type { WatchHandle } from './watch.ts';
import { createWriter } from './write.ts';

/** Options of {@link createKubeApi}; defaults in `options.ts`. */
export interface KubeApiOptions
  extends Partial<{ -readonly [K in keyof typeof kubeApiDefaults]: Widen<(typeof kubeApiDefaults)[K]> }> {
  /** Kinds to serve; all of {@link builtinKinds} by default. */
  readonly kinds?: readonly KindSpec[];
  readonly clock?: Clock;
  /** Serves HTTPS. */
  readonly tls?: TlsOptions;
  /** Bearer token to user; with it every request needs a token. */
  readonly tokens?: Readonly<Record<string, string>>;
}

type Widen<T> = T extends number ? number : T extends string ? string : T extends boolean ? boolean : T;

/** A request that came in. */
export interface RecordedRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** What it was about; undefined for paths without a resource. */
  readonly info: RequestInfo | undefined;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Monotonic milliseconds of the clock. */
  readonly at: number;
  /** Undefined until answered. */
  readonly status: number | undefined;
}

/** Names watches; fields left out match anything. */
export interface WatchMatch {
  readonly resource?: string;
  readonly group?: string;
  readonly namespace?: string;
}

/** A Kubernetes API server for tests: REST, list and watch over HTTP, with faults on request. */
export interface KubeApi extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly kinds: KindRegistry;
  readonly store: Store;
  readonly access: Access;
  readonly faults: Faults;
  /** The latest revision, as text. */
  readonly resourceVersion: string;
  /** Everything that was asked over HTTP or in process, oldest first. */
  readonly requests: readonly RecordedRequest[];
  /** Watches that are open now. */
  readonly watches: readonly WatchHandle[];
  /** Creates or replaces an object (status included); an unchanged object keeps its revision. */
  apply(manifest: Manifest): ApiObject;
  /** Applies each document of a YAML text. */
  applyYaml(text: string): ApiObject[];
  /** Deletes; false when it was not there. Kind by any of its names: `Service`, `services`, `Gateway.networking.istio.io`. */
  remove(kind: string, namespace: string | undefined, name: string): boolean;
  get(kind: string, namespace: string | undefined, name: string): ApiObject | undefined;
  list(kind: string, namespace?: string): ApiObject[];
  /** Forgets the recorded requests. */
  clearRequests(): void;
  /** Resolves when a watch that matches is open. */
  watching(match?: WatchMatch): Promise<WatchHandle>;
  /** Breaks the watches that match, mid-stream; returns how many. */
  dropWatches(match?: WatchMatch): number;
  /** Ends the watches that match properly; returns how many. */
  endWatches(match?: WatchMatch): number;
  /** The next event of each watch that matches is sent only in part, then the connection breaks. */
  cutWatches(match?: WatchMatch): number;
  /** Sends bookmarks to those who asked for them. */
  sendBookmarks(match?: WatchMatch): void;
  /** Compacts the history now: older resume points and tokens answer 410. */
  compact(): void;
  /** Makes every continue token handed out so far answer 410. */
  expireContinueTokens(): void;
  /** The watch cache stands still: `resourceVersion=0` lists and watches see nothing new until thawed. */
  freezeCache(): void;
  thawCache(): void;
  /** Refuses connections until {@link acceptConnections}. */
  refuseConnections(): Promise<void>;
  acceptConnections(): Promise<void>;
  /** Breaks all connections. */
  dropConnections(): void;
  /** Answers a request in process, as if it had come over HTTP. */
  handle(request: ApiRequest): Promise<ApiAnswer>;
}

/** Starts a Kubernetes API on a free port (or a given one) and resolves when it listens. */
export async function createKubeApi(options: KubeApiOptions = {}): Promise<KubeApi> {
  const settings = { ...kubeApiDefaults, ...options };
  const clock = options.clock ?? systemClock;
  const kinds = createKindRegistry(options.kinds ?? builtinKinds);
  const store = createStore(settings.startRevision, settings.historyLimit);
  const writer = createWriter(store, { ...settings, clock }, createAddressPool());
  const access = createAccess();
  access.requireTokens(options.tokens);
  const faults = createFaultInjector(clock);
  const watches = createWatchSet();
  const cache = createCache(store);
  const log = createRequestLog(clock, settings.requestLogLimit);
  let tokenEpoch = 0;

  const handle = createHandler(
    {
      kinds,
      writer,
      access,
      faults,
      gitVersion: 'v1.36.0-testkit',
      list: {
        store,
        cacheRevision: cache.revision,
        tokenEpoch: () => tokenEpoch,
        waitForRevision: (revision) => cache.reached(revision, clock, settings.tooLargeWaitMs),
      },
      watch: { ...settings, store, clock, visibleRevision: cache.revision, onChange: cache.onChange, ...watches.hooks },
    },
    log.record,
  );
  const face = await createHttpFace({ ...settings, handle });
  const kindOf = (name: string) => {
    const kind = kinds.find(name);
    if (!kind) throw new Error(`no kind is called ${name}`);
    return kind;
  };
  const apply = (manifest: Manifest) => {
    const kind = kinds.byKind(manifest.apiVersion, manifest.kind);
    if (!kind) throw new Error(`no kind ${manifest.kind} in ${manifest.apiVersion}`);
    return writer.apply(kind, manifest);
  };
  const api: KubeApi = {
    url: face.url,
    port: face.port,
    kinds,
    store,
    access,
    faults,
    get resourceVersion() {
      return String(store.revision);
    },
    requests: log.entries,
    get watches() {
      return watches.open();
    },
    apply,
    applyYaml: (text) => parseManifests(text).map(apply),
    remove(name, namespace, object) {
      const kind = kindOf(name);
      const key = { namespace: kind.namespaced ? (namespace ?? 'default') : undefined, name: object };
      if (!store.get(kind, key.namespace, key.name)) return false;
      writer.remove(kind, key);
      return true;
    },
    get: (name, namespace, object) => {
      const kind = kindOf(name);
      return store.get(kind, kind.namespaced ? (namespace ?? 'default') : undefined, object);
    },
    list: (name, namespace) =>
      store.list(kindOf(name)).filter((object) => namespace === undefined || object.metadata.namespace === namespace),
    clearRequests: log.clear,
    watching: watches.next,
    dropWatches: (match) => watches.each(match, (watch) => watch.drop()),
    endWatches: (match) => watches.each(match, (watch) => watch.end()),
    cutWatches: (match) => watches.each(match, (watch) => watch.cutNext()),
    sendBookmarks: (match) => void watches.each(match, (watch) => watch.bookmark()),
    compact: () => store.compact(),
    expireContinueTokens: () => {
      tokenEpoch++;
    },
    freezeCache: cache.freeze,
    thawCache: cache.thaw,
    refuseConnections: face.refuse,
    acceptConnections: face.accept,
    dropConnections: face.dropConnections,
    handle,
    async [Symbol.asyncDispose]() {
      faults.clear();
      await face.close();
    },
  };
  return api;
}

/** The manifests of a YAML text of one or more documents; `List` objects are unfolded. */
export function parseManifests(text: string): Manifest[] {
  const manifests: Manifest[] = [];
  const take = (value: unknown) => {
    if (value === null || value === undefined) return;
    if (isRecord(value) && value['kind'] === 'List' && Array.isArray(value['items'])) {
      for (const item of value['items']) take(item);
    } else if (
      isRecord(value) &&
      typeof value['apiVersion'] === 'string' &&
      typeof value['kind'] === 'string' &&
      isRecord(value['metadata'])
    ) {
      manifests.push(value as unknown as Manifest);
    } else throw new Error('a document is not a Kubernetes object: apiVersion, kind and metadata are needed');
  };
  for (const document of parseAllDocuments(text)) {
    const error = document.errors[0];
    if (error) throw error;
    take(document.toJS());
  }
  return manifests;
}

function createRequestLog(clock: Clock, limit: number) {
  const entries: RecordedRequest[] = [];
  const record: Recorder = (request, info) => {
    const mark = request.url.indexOf('?');
    const path = mark < 0 ? request.url : request.url.slice(0, mark);
    const query = Object.fromEntries(new URLSearchParams(mark < 0 ? '' : request.url.slice(mark + 1)));
    const entry = {
      method: request.method,
      url: request.url,
      path,
      query,
      info,
      headers: request.headers,
      at: clock.now(),
      status: undefined as number | undefined,
    };
    entries.push(entry);
    if (entries.length > limit) entries.shift();
    return (status) => {
      entry.status = status;
    };
  };
  return { entries: entries as readonly RecordedRequest[], record, clear: () => void entries.splice(0) };
}

function createWatchSet() {
  const open = new Set<WatchHandle>();
  const waiting = new Set<{ match: WatchMatch; resolve: (handle: WatchHandle) => void }>();
  const matching = (match: WatchMatch) => [...open].filter((handle) => fits(handle, match));
  return {
    open: () => [...open],
    hooks: {
      opened(handle: WatchHandle) {
        open.add(handle);
        for (const waiter of [...waiting]) {
          if (!fits(handle, waiter.match)) continue;
          waiting.delete(waiter);
          waiter.resolve(handle);
        }
      },
      closed: (handle: WatchHandle) => void open.delete(handle),
    },
    next(match: WatchMatch = {}): Promise<WatchHandle> {
      const found = matching(match)[0];
      return found ? Promise.resolve(found) : new Promise((resolve) => waiting.add({ match, resolve }));
    },
    each(match: WatchMatch = {}, run: (handle: WatchHandle) => void): number {
      const found = matching(match);
      for (const handle of found) run(handle);
      return found.length;
    },
  };
}

function fits(handle: WatchHandle, match: WatchMatch): boolean {
  const { resource, group, namespace } = handle.info;
  return (
    (match.resource === undefined || match.resource === resource) &&
    (match.group === undefined || match.group === group) &&
    (match.namespace === undefined || match.namespace === namespace)
  );
}

/** The watch cache: it keeps up with the store unless frozen. */
function createCache(store: Store) {
  let frozenAt: number | undefined;
  const thawed = new Set<() => void>();
  const revision = () => frozenAt ?? store.revision;
  const onChange = (run: () => void) => {
    const unsubscribe = store.subscribe(run);
    thawed.add(run);
    return () => {
      thawed.delete(run);
      unsubscribe();
    };
  };
  return {
    revision,
    onChange,
    freeze() {
      frozenAt = store.revision;
    },
    thaw() {
      frozenAt = undefined;
      for (const run of [...thawed]) run();
    },
    async reached(wanted: number, clock: Clock, ms: number): Promise<void> {
      const enough = new AbortController();
      const stop = onChange(() => {
        if (revision() >= wanted) enough.abort();
      });
      await pause(clock, ms, enough.signal);
      stop();
    },
  };
}
