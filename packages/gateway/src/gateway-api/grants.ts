import type { CompileContext } from '../common/context.ts';
import { namespaceOf, specOf } from '../read/conditions.ts';

/** Who refers to what. */
export interface Reference {
  readonly fromGroup: string;
  readonly fromKind: string;
  readonly fromNamespace: string;
  readonly toGroup: string;
  readonly toKind: string;
  readonly toNamespace: string;
  readonly toName: string;
}

const KIND = 'ReferenceGrant.gateway.networking.k8s.io';

/** Whether a reference is allowed: within one namespace always, across namespaces by a ReferenceGrant of the target's. */
export function isGranted(reference: Reference, context: CompileContext): boolean {
  if (reference.fromNamespace === reference.toNamespace) return true;
  for (const grant of context.catalog.objects.get(KIND)?.values() ?? []) {
    if (namespaceOf(grant) !== reference.toNamespace) continue;
    const spec = specOf(grant, context.conditions);
    const from = spec.get('from').items();
    const to = spec.get('to').items();
    spec.only(['from', 'to']);
    const fromHolds = from.some(
      (item) =>
        item.get('group').value === reference.fromGroup &&
        item.get('kind').value === reference.fromKind &&
        item.get('namespace').value === reference.fromNamespace,
    );
    const toHolds = to.some(
      (item) =>
        (item.get('group').value ?? '') === reference.toGroup &&
        item.get('kind').value === reference.toKind &&
        (item.get('name').absent || item.get('name').value === reference.toName),
    );
    if (fromHolds && toHolds) return true;
  }
  return false;
}
