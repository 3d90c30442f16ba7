import type { Catalog, CatalogChange, GroupKind, Service } from '@edgemesh/core';

const KINDS: ReadonlySet<GroupKind> = new Set(['Secret', 'Namespace', 'ConfigMap']);
const GROUPS = ['.networking.istio.io', '.gateway.networking.k8s.io', '.networking.k8s.io'];

/** Whether a change can change the plan. Endpoints, the most frequent change, never do. */
export function concernsPlan(change: CatalogChange, seen: ReadonlyMap<string, Service>, catalog: Catalog): boolean {
  for (const kind of change.objects) {
    if (KINDS.has(kind) || GROUPS.some((group) => kind.endsWith(group))) return true;
    // Only whether there are any matters to the plan.
    if (kind === 'Pod' && (catalog.objects.get('Pod')?.size ?? 0) <= 1) return true;
  }
  for (const id of change.services) if (seen.get(id) !== catalog.services.get(id)) return true;
  return false;
}
