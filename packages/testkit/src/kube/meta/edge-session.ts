import type { Clock, Timer } from '@edgemesh/core';
import type { KindRegistry, KindSpec } from '../api/kinds.ts';
import { type ApiObject, revisionOf } from '../api/object.ts';
import { renderObject } from '../api/render.ts';
import type { Matcher } from '../api/selectors.ts';
import type { Store, StoreEvent } from '../api/store.ts';
import { transition } from '../api/watch.ts';
import type { Gvr } from './edge-store.ts';
import type { OdditySwitches } from './oddities.ts';

/** What cloudcore sends to an edge. A broken message is one the edge cannot read: it rejects it, yet it counts as delivered. */
export interface PushMessage {
  readonly operation: 'upsert' | 'delete';
  readonly gvr: Gvr;
  readonly object: ApiObject;
  readonly broken: boolean;
}

/** The edge as cloudcore sees it. */
export interface EdgePort {
  /** True while messages get through. */
  linked(): boolean;
  receive(message: PushMessage): void;
  cloudcoreStopped(): void;
  cloudcoreStarted(): void;
}

/** A watch of an edge as it is registered in cloudcore's memory. */
export interface Registration {
  /** What makes two watches the same to cloudcore. */
  readonly id: string;
  readonly gvr: Gvr;
  readonly matches: Matcher;
}

/** Cloudcore's side of one edge. */
export interface EdgeSession {
  has(id: string): boolean;
  /** Registers a watch and returns what the edge does not have yet, the newest first. */
  register(registration: Registration): PushMessage[];
  /** Takes a registration away; with `starving`, another watch relied on it and from now on sees deletes only. */
  unregister(id: string, starving: boolean): void;
  /** Forgets all registrations, as when edgecore starts anew. */
  unregisterAll(): void;
  /** Delivers what waited for the connection. */
  flush(): void;
  /** Lets the sync loop look at every known object. */
  syncAll(): void;
  /** The next change of this object counts as delivered but never is. */
  loseNext(gvr: Gvr, namespace: string | undefined, name: string): void;
  changed(event: StoreEvent): void;
  cloudcoreStopped(): void;
  cloudcoreStarted(): void;
  detach(): void;
}

/** What a session needs of its cloudcore. */
export interface SessionCore {
  readonly cloud: { readonly kinds: KindRegistry; readonly store: Store };
  readonly up: boolean;
  readonly restarts: number;
  /** Checks a watch before it is registered: false where the watch kills or freezes the process instead. */
  admits(gvr: Gvr): boolean;
}

export interface EdgeSessionOptions {
  readonly core: SessionCore;
  readonly port: EdgePort;
  readonly clock: Clock;
  readonly odd: OdditySwitches;
  readonly syncLoopMs: number;
}

interface Known {
  readonly gvr: Gvr;
  readonly kind: KindSpec;
  readonly namespace: string | undefined;
  readonly name: string;
}

const keyOf = (gvr: Gvr, namespace: string | undefined, name: string) =>
  `${gvr.group}/${gvr.version}/${gvr.resource}/${namespace ?? ''}/${name}`;
const keyOfObject = (gvr: Gvr, object: ApiObject) => keyOf(gvr, object.metadata.namespace, object.metadata.name);

export function createEdgeSession(options: EdgeSessionOptions): EdgeSession {
  const { core, port, clock, odd } = options;
  const registrations = new Map<string, Registration>();
  const starved = new Map<string, Registration>();
  // ObjectSync: what cloudcore believes the edge has. Kept in the cluster, so it survives restarts.
  const delivered = new Map<string, Known & { revision: number }>();
  const queue = new Map<string, { message: PushMessage; known: Known }>();
  const pendingSync = new Map<string, Timer>();
  const toLose = new Set<string>();
  let slicesSeen = false;
  let lossCounter = 0;

  const send = (message: PushMessage, known: Known) => {
    const key = keyOfObject(message.gvr, message.object);
    if (!port.linked()) {
      queue.set(key, {
        message: { ...message, broken: message.operation === 'delete' && odd.deletesLostOffline },
        known,
      });
      return;
    }
    if (message.operation === 'delete') delivered.delete(key);
    else delivered.set(key, { ...known, revision: revisionOf(message.object) });
    if (toLose.delete(key)) return;
    port.receive(message);
  };
  const covering = (kind: KindSpec, version: string, among = registrations) =>
    [...among.values()].filter(
      (r) => r.gvr.group === kind.group && r.gvr.resource === kind.plural && r.gvr.version === version,
    );
  const push = (event: StoreEvent, gvr: Gvr, known: Known, watching: readonly Registration[]) => {
    const seen = watching.map((registration) => transition(event, registration.matches)).filter((s) => s !== undefined);
    const best = seen.find((s) => s.type !== 'DELETED') ?? seen[0];
    if (!best) return;
    const operation = best.type === 'DELETED' ? 'delete' : 'upsert';
    send({ operation, gvr, object: renderObject(best.object, known.kind, gvr.version), broken: false }, known);
  };
  const sync = (key: string) => {
    pendingSync.delete(key);
    const known = delivered.get(key);
    if (!known || !core.up || !port.linked()) return;
    const { gvr, kind } = known;
    const now = core.cloud.store.get(kind, known.namespace, known.name);
    if (!now) {
      const metadata = { name: known.name, ...(known.namespace !== undefined && { namespace: known.namespace }) };
      const object = { apiVersion: '', kind: '', metadata } as ApiObject;
      send({ operation: 'delete', gvr, object, broken: odd.deletesLostOffline }, known);
    } else if (revisionOf(now) > known.revision) {
      const uncovered = core.restarts > 0 && covering(kind, gvr.version).length === 0;
      if (odd.staleRows && uncovered && lossCounter++ % 2 === 0) known.revision = revisionOf(now);
      else send({ operation: 'upsert', gvr, object: renderObject(now, kind, gvr.version), broken: false }, known);
    }
  };
  const scheduleSync = (key: string) => {
    if (!pendingSync.has(key))
      pendingSync.set(
        key,
        clock.after(options.syncLoopMs, () => sync(key)),
      );
  };

  return {
    has: (id) => registrations.has(id),
    register(registration) {
      const { gvr, id } = registration;
      if (!core.admits(gvr)) return [];
      registrations.set(id, registration);
      starved.delete(id);
      const kind = core.cloud.kinds.byResource(gvr.group, gvr.version, gvr.resource) as KindSpec;
      const slices = gvr.group === 'discovery.k8s.io' && gvr.resource === 'endpointslices';
      const broken = slices && !slicesSeen && odd.endpointSlicesLostAtFirst;
      slicesSeen ||= slices;
      const missing: PushMessage[] = [];
      for (const object of core.cloud.store.list(kind)) {
        const { namespace, name } = object.metadata;
        const key = keyOf(gvr, namespace, name);
        if (!registration.matches(object) || revisionOf(object) <= (delivered.get(key)?.revision ?? 0)) continue;
        delivered.set(key, { gvr, kind, namespace, name, revision: revisionOf(object) });
        missing.push({ operation: 'upsert', gvr, object: renderObject(object, kind, gvr.version), broken });
      }
      return missing.sort((a, b) => revisionOf(b.object) - revisionOf(a.object));
    },
    unregister(id, starving) {
      const registration = registrations.get(id);
      registrations.delete(id);
      if (starving && registration) starved.set(id, registration);
      else starved.delete(id);
    },
    unregisterAll() {
      registrations.clear();
      starved.clear();
    },
    flush() {
      const waiting = [...queue.values()];
      queue.clear();
      for (const { message, known } of waiting) send(message, known);
    },
    syncAll() {
      for (const key of delivered.keys()) scheduleSync(key);
    },
    loseNext: (gvr, namespace, name) => void toLose.add(keyOf(gvr, namespace, name)),
    changed(event) {
      const { kind, object } = event;
      const { namespace, name } = object.metadata;
      for (const version of kind.versions) {
        const gvr = { group: kind.group, version, resource: kind.plural };
        const live = covering(kind, version);
        const watching = live.length > 0 || event.type !== 'DELETED' ? live : covering(kind, version, starved);
        if (watching.length > 0) push(event, gvr, { gvr, kind, namespace, name }, watching);
        else if (delivered.has(keyOf(gvr, namespace, name))) scheduleSync(keyOf(gvr, namespace, name));
      }
    },
    cloudcoreStopped() {
      registrations.clear();
      starved.clear();
      queue.clear();
      slicesSeen = false;
      port.cloudcoreStopped();
    },
    cloudcoreStarted: () => port.cloudcoreStarted(),
    detach() {
      registrations.clear();
      for (const timer of pendingSync.values()) timer.cancel();
    },
  };
}
