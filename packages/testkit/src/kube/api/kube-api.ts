import { type Clock, systemClock } from '@edgemesh/core';
import { createHttpFace, type TlsOptions } from '../http-face.ts';
import { kubeApiDefaults } from '../options.ts';
import { type Access, createAccess } from './access.ts';
import { createAddressPool } from './defaults.ts';
import { createFaultInjector, type Faults } from './faults.ts';
import { createHandler } from './handler.ts';
import { builtinKinds, createKindRegistry, type KindRegistry, type KindSpec } from './kinds.ts';
import { parseManifests } from './manifests.ts';
import type { ApiObject, Manifest } from './object.ts';
import type { ApiAnswer, ApiRequest } from './request.ts';
import { createRequestLog, type RecordedRequest } from './request-log.ts';
import { createStore, type Store } from './store.ts';
import type { WatchHandle } from './watch.ts';
import { createWatchCache } from './watch-cache.ts';
import { createWatchSet, type WatchMatch } from './watch-set.ts';
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
  const cache = createWatchCache(store);
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
