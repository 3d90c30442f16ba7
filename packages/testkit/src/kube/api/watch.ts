import type { Clock, Timer } from '@edgemesh/core';
import type { KindSpec } from './kinds.ts';
import { renderBookmark, renderObject } from './render.ts';
import { isTrue, numberParam, type RequestInfo, type Sink } from './request.ts';
import type { Matcher } from './selectors.ts';
import { expired, invalid, type Status } from './status.ts';
import type { Store, StoreEvent } from './store.ts';

/** An open watch, as test code sees it. */
export interface WatchHandle {
  readonly info: RequestInfo;
  readonly query: URLSearchParams;
  /** Highest revision sent or skipped. */
  readonly revision: number;
  /** Ends the stream properly. */
  end(): void;
  /** Breaks the connection. */
  drop(): void;
  /** Sends the next event only in part, then breaks the connection. */
  cutNext(): void;
  /** Sends a bookmark, if the client asked for them. */
  bookmark(): void;
  /** Sends an ERROR event and ends, as on a compacted revision. */
  fail(status: Status): void;
}

/** What watches need around them. */
export interface WatchContext {
  readonly store: Store;
  readonly clock: Clock;
  readonly bookmarkIntervalMs: number;
  readonly watchTimeoutMs: number;
  readonly maxWatchBufferedBytes: number;
  /** Events beyond this revision are held back (a frozen watch cache). */
  visibleRevision(): number;
  /** Calls when there may be something new to see; returns the way to stop. */
  onChange(run: () => void): () => void;
  opened(handle: WatchHandle): void;
  closed(handle: WatchHandle): void;
}

/** A checked watch request. */
export interface WatchPlan {
  readonly info: RequestInfo;
  readonly kind: KindSpec;
  readonly query: URLSearchParams;
  readonly matches: Matcher;
  /** Resume point; undefined = begin with the present state. */
  readonly from: number | undefined;
  readonly sendInitialEvents: boolean;
  /** With initial events: the state must be at least this new. */
  readonly notOlderThan: number;
  readonly bookmarks: boolean;
  readonly timeoutMs: number | undefined;
}

/** Checks the options of a watch; throws what the server refuses before it opens the stream. */
export function planWatch(info: RequestInfo, kind: KindSpec, query: URLSearchParams, matches: Matcher): WatchPlan {
  const from = numberParam(query, 'resourceVersion') ?? 0;
  const asksInitial = query.get('sendInitialEvents');
  const match = query.get('resourceVersionMatch') ?? '';
  const refuse = (field: string, message: string) =>
    invalid({ group: 'meta.k8s.io', resource: 'ListOptions' }, [
      { reason: 'FieldValueForbidden', field, message: `Forbidden: ${message}` },
    ]);
  if (asksInitial !== null && match !== 'NotOlderThan') {
    throw refuse('resourceVersionMatch', 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan');
  }
  if (asksInitial === null && match !== '') {
    throw refuse(
      'resourceVersionMatch',
      'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
    );
  }
  const sendInitialEvents = isTrue(asksInitial);
  const seconds = numberParam(query, 'timeoutSeconds');
  const fresh = sendInitialEvents || (from === 0 && asksInitial === null);
  return {
    info,
    kind,
    query,
    matches,
    from: fresh ? undefined : from,
    sendInitialEvents,
    notOlderThan: sendInitialEvents ? from : 0,
    bookmarks: isTrue(query.get('allowWatchBookmarks')),
    timeoutMs: seconds ? seconds * 1000 : undefined,
  };
}

/** Runs a watch on an open stream until either side ends it. */
export function runWatch(context: WatchContext, plan: WatchPlan, sink: Sink): void {
  const { store, clock } = context;
  const timers: Timer[] = [];
  let revision = plan.from ?? 0;
  let cutting = false;
  let open = true;
  const send = (type: string, object: unknown) => {
    if (!open) return;
    const line = `${JSON.stringify({ type, object })}\n`;
    if (!cutting) sink.write(line);
    else {
      sink.write(line.slice(0, line.length >> 1));
      sink.destroy();
    }
    if (sink.bufferedBytes > context.maxWatchBufferedBytes) sink.destroy();
  };
  const bookmark = (initialEventsEnd = false) => {
    if (plan.bookmarks) send('BOOKMARK', renderBookmark(plan.kind, plan.info.version, revision, initialEventsEnd));
  };
  const deliver = (event: StoreEvent) => {
    if (event.revision <= revision) return;
    revision = event.revision;
    const seen = transition(event, plan.matches);
    if (seen) send(seen.type, renderObject(seen.object, plan.kind, plan.info.version));
  };
  const catchUp = () => {
    const visible = context.visibleRevision();
    for (const event of store.since(plan.kind, revision)) if (event.revision <= visible) deliver(event);
    revision = Math.max(revision, visible);
  };
  const handle: WatchHandle = {
    info: plan.info,
    query: plan.query,
    get revision() {
      return revision;
    },
    end: () => sink.end(),
    drop: () => sink.destroy(),
    cutNext: () => {
      cutting = true;
    },
    bookmark: () => bookmark(),
    fail(status) {
      send('ERROR', status);
      sink.end();
    },
  };
  const unsubscribe = context.onChange(catchUp);
  sink.onClose(() => {
    open = false;
    unsubscribe();
    for (const timer of timers) timer.cancel();
    context.closed(handle);
  });
  context.opened(handle);

  if (plan.from === undefined) {
    const visible = context.visibleRevision();
    for (const object of store.list(plan.kind, visible === store.revision ? undefined : visible)) {
      if (plan.matches(object)) send('ADDED', renderObject(object, plan.kind, plan.info.version));
    }
    revision = visible;
    if (plan.sendInitialEvents) bookmark(true);
  } else if (plan.from < store.compacted) {
    handle.fail(expired(`too old resource version: ${plan.from} (${store.compacted})`).status);
    return;
  } else catchUp();

  scheduleBookmarks(context, () => bookmark(), timers);
  timers.push(
    clock.after(plan.timeoutMs ?? context.watchTimeoutMs, () => {
      bookmark();
      sink.end();
    }),
  );
}

function scheduleBookmarks(context: WatchContext, send: () => void, timers: Timer[]): void {
  const next = () => {
    send();
    timers[0] = context.clock.after(context.bookmarkIntervalMs, next);
  };
  timers[0] = context.clock.after(context.bookmarkIntervalMs, next);
}

/** What a watcher with a selector sees of a change: objects enter (ADDED) and leave (DELETED) its sight. */
export function transition(
  event: Pick<StoreEvent, 'type' | 'object' | 'previous' | 'revision'>,
  matches: Matcher,
): { type: StoreEvent['type']; object: StoreEvent['object'] } | undefined {
  const before = event.previous !== undefined && matches(event.previous);
  const after = event.type !== 'DELETED' && matches(event.object);
  if (after) return { type: before ? 'MODIFIED' : 'ADDED', object: event.object };
  if (!before) return undefined;
  // The last state the watcher knew, under the revision of the change that took it away.
  const last = event.previous as StoreEvent['object'];
  const metadata = { ...last.metadata, resourceVersion: String(event.revision) };
  return { type: 'DELETED', object: { ...last, metadata } };
}
