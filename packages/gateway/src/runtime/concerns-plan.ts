import type { Catalog, CatalogChange, GroupKind } from '@edgemesh/core';

/** What is remembered of the catalog that was compiled; the whole would keep an old snapshot alive. */
export interface Compiled {
  readonly services: Catalog['services'];
  readonly hasPods: boolean;
}

/** What to remember. */
export function compiledFrom(catalog: Catalog): Compiled {
  return { services: catalog.services, hasPods: hasPods(catalog) };
}

const KINDS: ReadonlySet<GroupKind> = new Set(['Secret', 'Namespace', 'ConfigMap']);
const GROUPS = ['.networking.istio.io', '.gateway.networking.k8s.io', '.networking.k8s.io'];

/** Whether a change since then can change the plan. Endpoints, the most frequent change, never do. */
export function concernsPlan(change: CatalogChange, before: Compiled, now: Catalog): boolean {
  for (const kind of change.objects) {
    if (KINDS.has(kind) || GROUPS.some((group) => kind.endsWith(group))) return true;
    // Only whether there are any matters to the plan.
    if (kind === 'Pod' && before.hasPods !== hasPods(now)) return true;
  }
  for (const id of change.services) if (before.services.get(id) !== now.services.get(id)) return true;
  return false;
}

function hasPods({ objects }: Catalog): boolean {
  return (objects.get('Pod')?.size ?? 0) > 0;
}
