import type { Catalog, CatalogChange, GroupKind, KubeObject } from '@edgemesh/core';

const KINDS: ReadonlySet<GroupKind> = new Set(['Secret', 'Namespace', 'ConfigMap', 'IngressClass.networking.k8s.io']);
const ISTIO = '.networking.istio.io';

/** Kinds whose statuses are written back, by us among others: a new status is no reason to compile. */
function hasStatus(kind: GroupKind): boolean {
  return kind.endsWith('.gateway.networking.k8s.io') || kind === 'Ingress.networking.k8s.io';
}

type Objects = ReadonlyMap<string, KubeObject>;

/** What is remembered of the catalog that was compiled; the whole would keep an old snapshot alive. */
export interface Compiled {
  readonly services: Catalog['services'];
  readonly hasPods: boolean;
  readonly withStatus: ReadonlyMap<GroupKind, Objects>;
}

/** What to remember. */
export function compiledFrom({ services, objects }: Catalog): Compiled {
  const withStatus = new Map([...objects].filter(([kind]) => hasStatus(kind)));
  return { services, hasPods: hasPods(objects), withStatus };
}

/** Whether a change since then can change the plan. Endpoints, the most frequent change, never do. */
export function concernsPlan(change: CatalogChange, before: Compiled, now: Catalog): boolean {
  for (const kind of change.objects) {
    if (KINDS.has(kind) || kind.endsWith(ISTIO)) return true;
    if (hasStatus(kind) && !sameSpecs(before.withStatus.get(kind), now.objects.get(kind))) return true;
    // Only whether there are any matters to the plan.
    if (kind === 'Pod' && before.hasPods !== hasPods(now.objects)) return true;
  }
  for (const id of change.services) if (before.services.get(id) !== now.services.get(id)) return true;
  return false;
}

function hasPods(objects: Catalog['objects']): boolean {
  return (objects.get('Pod')?.size ?? 0) > 0;
}

function sameSpecs(before: Objects | undefined, now: Objects | undefined): boolean {
  if ((before?.size ?? 0) !== (now?.size ?? 0)) return false;
  for (const [key, object] of now ?? []) if (!sameSpec(before?.get(key), object)) return false;
  return true;
}

/** The API server counts changes of a spec; where nobody does, every change counts. */
function sameSpec(before: KubeObject | undefined, now: KubeObject): boolean {
  if (before === now) return true;
  const { uid, generation } = now.metadata;
  if (before === undefined || uid === undefined || generation === undefined) return false;
  return before.metadata.uid === uid && before.metadata.generation === generation;
}
