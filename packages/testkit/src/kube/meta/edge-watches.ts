import type { Clock } from '@edgemesh/core';
import { type ApiObject, revisionOf } from '../api/object.ts';
import type { Sink } from '../api/request.ts';
import type { Matcher } from '../api/selectors.ts';
import { transition } from '../api/watch.ts';
import type { EdgeSession, PushMessage, Registration } from './edge-session.ts';
import type { EdgeStore, Gvr } from './edge-store.ts';
import { guessResource } from './guess.ts';
import type { OdditySwitches } from './oddities.ts';
import { rewriteKubernetesSlice } from './slices.ts';

/** A watch request, checked. */
export interface EdgeWatchPlan extends Registration {
  /** As asked for; the metaServer does not look at it. */
  readonly fromRevision: number;
  readonly bookmarks: boolean;
  readonly initialEventsEnd: boolean;
  readonly timeoutMs: number;
  readonly url: string;
}

/** A watch that is open at the edge, as test code sees it. */
export interface EdgeWatch {
  readonly gvr: Gvr;
  readonly url: string;
  /** True when cloudcore knows of it. */
  readonly registered: boolean;
  end(): void;
  drop(): void;
}

interface OpenWatch extends EdgeWatch {
  readonly plan: EdgeWatchPlan;
  readonly matches: Matcher;
  readonly startRevision: number;
  /** `lost` is never registered again: it was opened offline, or its registration went with an identical watch. */
  claim: 'normal' | 'lost';
  send(type: string, object: unknown): void;
}

export interface EdgeWatches {
  readonly open: readonly EdgeWatch[];
  /** Messages that the edge could not read, in KubeEdge's words. */
  readonly rejected: readonly string[];
  run(plan: EdgeWatchPlan, sink: Sink): void;
  receive(message: PushMessage): void;
  /** Forgets all watches without a word to cloudcore: edgecore died. */
  abandon(): void;
  /** Registers again what a new connection registers. */
  connected(): void;
}

export interface EdgeWatchesOptions {
  readonly store: EdgeStore;
  readonly clock: Clock;
  readonly odd: OdditySwitches;
  readonly coldReplayShare: number;
  readonly bookmarkIntervalMs: number;
  readonly poisonMemoryMs: number;
  readonly linked: () => boolean;
  readonly session: () => EdgeSession;
}

/** Kept for tests to look at; later ones are not recorded. */
const MAX_REJECTED = 1_000;

export function createEdgeWatches(options: EdgeWatchesOptions): EdgeWatches {
  const { store, clock, odd } = options;
  const open = new Set<OpenWatch>();
  const rejected: string[] = [];
  // Closed watches that killed cloudcore: edgecore keeps sending them for a while.
  const poison: { plan: EdgeWatchPlan; until: number }[] = [];

  const accept = (message: PushMessage) => {
    if (message.broken) {
      const { name, namespace } = message.object.metadata;
      if (rejected.length < MAX_REJECTED)
        rejected.push(`Object 'Kind' is missing in ${JSON.stringify({ metadata: { name, namespace } })}`);
      return;
    }
    const { gvr, object } = message;
    // Edgecore derives the place from the kind; for Gateways (`gatewaies`) that is not where anybody looks.
    const guess = object.kind === '' ? gvr.resource : guessResource(object.kind);
    const misplaced = odd.gatewaysNeverDelivered && guess !== gvr.resource;
    const place = misplaced ? { ...gvr, resource: guess } : gvr;
    const { namespace, name } = object.metadata;
    const previous = store.get(place, namespace, name);
    if (message.operation === 'delete') store.delete(place, namespace, name);
    else store.put(place, object);
    if (!misplaced) trigger(message, previous);
  };
  const trigger = ({ gvr, operation, object }: PushMessage, previous: ApiObject | undefined) => {
    const deleted = operation === 'delete';
    const event = {
      type: deleted ? ('DELETED' as const) : previous ? ('MODIFIED' as const) : ('ADDED' as const),
      object,
      revision: revisionOf(object) || (previous ? revisionOf(previous) : 0),
      ...((previous ?? deleted) && { previous: deleted && object.kind !== '' ? object : (previous ?? object) }),
    };
    for (const watch of open) {
      const { group, version, resource } = watch.gvr;
      if (group !== gvr.group || version !== gvr.version || resource !== gvr.resource) continue;
      if (odd.incompleteReplay && !deleted && revisionOf(object) <= watch.startRevision) continue;
      const seen = transition(event, watch.matches);
      if (seen) watch.send(seen.type, seen.object);
    }
  };
  const replay = (watch: OpenWatch) => {
    const from = odd.resourceVersionIgnored ? 0 : watch.plan.fromRevision;
    for (const row of store.rows(watch.gvr)) {
      if (watch.matches(row) && revisionOf(row) > from) watch.send('ADDED', row);
    }
  };
  const registerAgain = () => {
    const session = options.session();
    for (const watch of open) {
      if (watch.claim === 'lost' || session.has(watch.plan.id)) continue;
      const missing = session.register(watch.plan);
      if (!options.linked()) return;
      if (odd.repeatedAdds) replay(watch);
      for (const message of missing) accept(message);
    }
    const now = clock.now();
    for (const { plan, until } of poison) if (until > now && options.linked()) session.register(plan);
  };
  const closed = (watch: OpenWatch) => {
    if (!open.delete(watch) || !options.linked()) return;
    const session = options.session();
    const twins = [...open].filter((other) => other.plan.id === watch.plan.id);
    if (watch.claim === 'normal') {
      if (odd.identicalWatchesShare) for (const twin of twins) twin.claim = 'lost';
      if (odd.identicalWatchesShare || twins.length === 0) session.unregister(watch.plan.id, twins.length > 0);
    }
    registerAgain();
  };

  return {
    get open() {
      return [...open];
    },
    rejected,
    run(plan, sink) {
      const session = options.session();
      const linked = options.linked();
      const missing = linked ? session.register(plan) : [];
      if (linked && !session.has(plan.id)) poison.push({ plan, until: clock.now() + options.poisonMemoryMs });
      const early = odd.incompleteReplay
        ? store.size === 0
          ? Math.ceil(missing.length * options.coldReplayShare)
          : 0
        : missing.length;
      for (const message of missing.splice(0, early)) accept(message);
      const watch: OpenWatch = {
        plan,
        gvr: plan.gvr,
        url: plan.url,
        matches: plan.matches,
        startRevision: store.highestRevision,
        claim: linked || !odd.offlineWatchNeverRegistered ? 'normal' : 'lost',
        get registered() {
          return session.has(plan.id);
        },
        end: () => sink.end(),
        drop: () => sink.destroy(),
        send: (type, object) =>
          sink.write(`${JSON.stringify({ type, object: rewriteKubernetesSlice(object, odd) })}\n`),
      };
      const timers = [clock.after(plan.timeoutMs, () => sink.end())];
      sink.onClose(() => {
        for (const timer of timers) timer.cancel();
        closed(watch);
      });
      replay(watch);
      open.add(watch);
      for (const message of missing) accept(message);
      if (!odd.noBookmarks && plan.bookmarks) {
        const bookmark = (end: boolean) => watch.send('BOOKMARK', bookmarkObject(plan.gvr, store.highestRevision, end));
        if (plan.initialEventsEnd) bookmark(true);
        const next = () => {
          bookmark(false);
          timers[1] = clock.after(options.bookmarkIntervalMs, next);
        };
        timers[1] = clock.after(options.bookmarkIntervalMs, next);
      }
    },
    receive: accept,
    abandon() {
      open.clear();
      poison.length = 0;
    },
    connected() {
      for (const watch of open) if (watch.claim === 'lost' && !odd.offlineWatchNeverRegistered) watch.claim = 'normal';
      if (!odd.deadWatchesAfterRestart) registerAgain();
    },
  };
}

function bookmarkObject(gvr: Gvr, revision: number, end: boolean): Record<string, unknown> {
  const apiVersion = gvr.group === '' ? gvr.version : `${gvr.group}/${gvr.version}`;
  const annotations = { 'k8s.io/initial-events-end': 'true' };
  return { apiVersion, kind: '', metadata: { resourceVersion: String(revision), ...(end && { annotations }) } };
}
