import { type Clock, systemClock } from '@edgemesh/core';
import { pause } from '../api/faults.ts';
import type { KubeApi } from '../api/kube-api.ts';
import type { ApiObject } from '../api/object.ts';
import { createRequestLog, type RecordedRequest } from '../api/request-log.ts';
import { createHttpFace, type TlsOptions } from '../http-face.ts';
import { metaServerDefaults } from '../options.ts';
import { type Cloudcore, createCloudcore } from './cloudcore.ts';
import type { EdgeSession } from './edge-session.ts';
import { createEdgeStore, type Gvr } from './edge-store.ts';
import { createEdgeWatches, type EdgeWatch } from './edge-watches.ts';
import { createMetaHandler } from './handler.ts';
import { createLink } from './link.ts';
import { type OdditySwitches, oddityState } from './oddities.ts';

type Settings = {
  -readonly [K in keyof typeof metaServerDefaults]: (typeof metaServerDefaults)[K] extends string ? string : number;
};

/** Options of {@link createMetaServer}; times and limits in `options.ts`. */
export interface MetaServerOptions extends Partial<Settings> {
  /** The cluster behind it. */
  readonly cloud: KubeApi;
  /** Shares one cloudcore among several edges; by default each edge has its own. */
  readonly cloudcore?: Cloudcore;
  /** Switches single oddities off, or with `all: false` all but those named. */
  readonly oddities?: Partial<OdditySwitches> & { readonly all?: boolean };
  readonly clock?: Clock;
  readonly tls?: TlsOptions;
}

/** KubeEdge's edge API for tests: what edgecore's metaServer does, oddities included. */
export interface MetaServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly cloudcore: Cloudcore;
  /** True when requests reach the cloud. */
  readonly connected: boolean;
  readonly requests: readonly RecordedRequest[];
  /** Watches open at this edge. */
  readonly watches: readonly EdgeWatch[];
  /** What the edge could not read, in KubeEdge's words. */
  readonly rejected: readonly string[];
  clearRequests(): void;
  /** Rows of the edge, as local lists would find them. */
  rows(resource: string, gvr?: { readonly group?: string; readonly version?: string }): ApiObject[];
  /** Cuts the link; `silent` (the default) means that edgecore does not notice. */
  disconnect(options?: { readonly silent?: boolean }): void;
  /** Repairs the link; resolves when the cloud answers again. */
  reconnect(): Promise<void>;
  whenConnected(): Promise<void>;
  stopCloudcore(): void;
  /** Starts it; resolves when the cloud answers again. */
  startCloudcore(): Promise<void>;
  restartCloudcore(): Promise<void>;
  /** Cuts every stream and comes back with the same rows; resolves when it listens. */
  restartEdgecore(): Promise<void>;
  /** Bandwidth of the link, bytes per second; undefined takes the limit away. */
  throttle(bytesPerSecond: number | undefined): void;
  /** The next change of this object counts as delivered, yet the edge never gets it (a stale row). */
  loseNextPush(gvr: Gvr, namespace: string | undefined, name: string): void;
  /** Breaks open watches mid-stream; returns how many. */
  dropWatches(resource?: string): number;
  refuseConnections(): Promise<void>;
  acceptConnections(): Promise<void>;
}

/** Starts a metaServer in front of a {@link KubeApi} and resolves when it listens. */
export async function createMetaServer(options: MetaServerOptions): Promise<MetaServer> {
  const settings: Settings = { ...metaServerDefaults, ...options };
  const clock = options.clock ?? systemClock;
  const odd = oddityState(options.oddities);
  const core =
    options.cloudcore ??
    createCloudcore({ cloud: options.cloud, clock, oddities: odd, syncLoopMs: settings.syncLoopMs });
  const store = createEdgeStore({ perVersion: odd.rowsPerVersion, unsorted: odd.unsortedLists });
  const log = createRequestLog(clock, settings.requestLogLimit);
  let bandwidth: number | undefined;
  let session: EdgeSession | undefined;
  const sessionNow = () => session as EdgeSession;

  const link = createLink({
    clock,
    odd,
    times: settings,
    cloudcoreUp: () => core.up,
    onConnected() {
      clock.after(settings.flushMs, () => sessionNow().flush());
      sessionNow().syncAll();
      watches.connected();
    },
  });
  const watches = createEdgeWatches({
    ...settings,
    store,
    clock,
    odd,
    linked: () => link.connected,
    session: sessionNow,
  });
  session = core.attach({
    linked: () => link.connected,
    receive: (message) => watches.receive(message),
    cloudcoreStopped: () => link.cloudcoreStopped(),
    cloudcoreStarted: () => link.cloudcoreStarted(),
  });
  const handle = createMetaHandler(
    { ...settings, core, store, link, watches, odd, clock, bandwidth: () => bandwidth },
    log.record,
  );
  const face = await createHttpFace({ ...settings, ...(options.tls && { tls: options.tls }), handle });

  const startCloudcore = () => {
    core.start();
    return link.whenConnected();
  };
  return {
    url: face.url,
    port: face.port,
    cloudcore: core,
    get connected() {
      return link.connected;
    },
    requests: log.entries,
    get watches() {
      return watches.open;
    },
    rejected: watches.rejected,
    clearRequests: log.clear,
    rows: (resource, gvr) => store.rows({ group: '', version: 'v1', ...gvr, resource }),
    disconnect: (how) => link.disconnect(how?.silent ?? true),
    reconnect: link.reconnect,
    whenConnected: link.whenConnected,
    stopCloudcore: () => core.stop(),
    startCloudcore,
    restartCloudcore() {
      core.stop();
      return startCloudcore();
    },
    async restartEdgecore() {
      watches.abandon();
      sessionNow().unregisterAll();
      await face.refuse();
      await pause(clock, settings.edgecoreStartMs, new AbortController().signal);
      link.edgecoreStarted();
      await face.accept();
    },
    throttle(bytesPerSecond) {
      bandwidth = bytesPerSecond;
    },
    loseNextPush: sessionNow().loseNext,
    dropWatches(resource) {
      const found = watches.open.filter((watch) => resource === undefined || watch.gvr.resource === resource);
      for (const watch of found) watch.drop();
      return found.length;
    },
    refuseConnections: face.refuse,
    acceptConnections: face.accept,
    async [Symbol.asyncDispose]() {
      link.close();
      await face.close();
      sessionNow().detach();
      if (!options.cloudcore) core[Symbol.dispose]();
    },
  };
}
