import { type Clock, systemClock } from '@edgemesh/core';
import type { KubeApi } from '../api/kube-api.ts';
import { metaServerDefaults } from '../options.ts';
import { createEdgeSession, type EdgePort, type EdgeSession } from './edge-session.ts';
import type { Gvr } from './edge-store.ts';
import { type OdditySwitches, oddityState } from './oddities.ts';

/** The user cloudcore is to the API server. */
export const CLOUDCORE_USER = 'system:serviceaccount:kubeedge:cloudcore';

export interface CloudcoreOptions {
  readonly cloud: KubeApi;
  readonly clock?: Clock;
  readonly oddities?: Partial<OdditySwitches>;
  /** Period of the comparison of known objects, ms; default 5,000. */
  readonly syncLoopMs?: number;
}

/** KubeEdge's cloud side: registrations of watches in memory, pushes to edges. Several edges may share one. */
export interface Cloudcore extends Disposable {
  readonly cloud: KubeApi;
  readonly up: boolean;
  /** Restarts so far. */
  readonly restarts: number;
  /** Why it is or was down: `stopped`, or the kind whose watch killed it. */
  readonly downBecause: string | undefined;
  /** True while a watch that it may not list blocks it. */
  readonly frozen: boolean;
  /** True while its only goroutine is busy. */
  readonly busy: boolean;
  /** Keeps it busy for a while. */
  occupy(ms: number): void;
  attach(port: EdgePort): EdgeSession;
  /** Ends it: registrations and queued messages are lost, edges see the connection close. */
  stop(because?: string): void;
  start(): void;
  /** Checks a watch before it is registered: false where the watch kills or freezes the process instead. */
  admits(gvr: Gvr): boolean;
}

export function createCloudcore(options: CloudcoreOptions): Cloudcore {
  const { cloud } = options;
  const clock = options.clock ?? systemClock;
  const odd = oddityState(options.oddities);
  const sessions = new Set<EdgeSession>();
  const frozenBy: Gvr[] = [];
  let up = true;
  let restarts = 0;
  let busyUntil = 0;
  let downBecause: string | undefined;
  const allowRbac = odd.stockRbac
    ? cloud.access.forbid({ user: CLOUDCORE_USER, groups: ['discovery.k8s.io'] })
    : () => undefined;
  const mayList = (gvr: Gvr) => cloud.access.allowed(CLOUDCORE_USER, { verb: 'list', ...gvr });

  const core: Cloudcore = {
    cloud,
    get up() {
      return up;
    },
    get restarts() {
      return restarts;
    },
    get downBecause() {
      return downBecause;
    },
    get frozen() {
      return up && frozenBy.some((gvr) => !mayList(gvr));
    },
    get busy() {
      return up && clock.now() < busyUntil;
    },
    occupy(ms) {
      busyUntil = Math.max(busyUntil, clock.now() + ms);
    },
    attach(port) {
      const session = createEdgeSession({
        core,
        port,
        clock,
        odd,
        syncLoopMs: options.syncLoopMs ?? metaServerDefaults.syncLoopMs,
      });
      sessions.add(session);
      return session;
    },
    stop(because = 'stopped') {
      if (!up) return;
      up = false;
      downBecause = because;
      frozenBy.length = 0;
      busyUntil = 0;
      for (const session of sessions) session.cloudcoreStopped();
    },
    start() {
      if (up) return;
      up = true;
      restarts++;
      for (const session of sessions) session.cloudcoreStarted();
    },
    admits(gvr) {
      if (!cloud.kinds.byResource(gvr.group, gvr.version, gvr.resource)) {
        if (odd.missingKindKillsCloudcore) core.stop(`${gvr.group}/${gvr.version}, Resource=${gvr.resource}`);
        return false;
      }
      if (mayList(gvr)) return true;
      if (odd.forbiddenWatchFreezesCloudcore) frozenBy.push(gvr);
      return false;
    },
    [Symbol.dispose]() {
      allowRbac();
      unsubscribe();
      for (const session of sessions) session.detach();
    },
  };
  const unsubscribe = cloud.store.subscribe((event) => {
    if (up) for (const session of sessions) session.changed(event);
  });
  return core;
}
