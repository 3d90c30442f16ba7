import { type Fields, fieldsOf, isFields, listOf } from '../../normalize/read.ts';

/** Who writes, and when. */
export interface MergeOptions {
  /** `controllerName` of entries that are ours. */
  readonly controllerName: string;
  /** RFC 3339. */
  readonly now: string;
  /** Of the object; what a parentRef means without one. */
  readonly namespace: string | undefined;
}

/**
 * The status an object shall have: what we want, inside what is there. Conditions keep their `lastTransitionTime` while
 * their status stays; conditions of other types, entries of other controllers and fields that we do not speak of stay as they
 * are and where they are, so that two controllers never take turns at writing the same thing in another order.
 */
export function mergeStatus(current: unknown, wanted: Fields, options: MergeOptions): Fields {
  const now = fieldsOf(current);
  const merged: Record<string, unknown> = { ...now };
  for (const [field, value] of Object.entries(wanted)) {
    if (field === 'conditions') merged[field] = mergeConditions(now[field], listOf(value), options.now, true);
    else if (field === 'listeners') merged[field] = mergeListeners(now[field], listOf(value), options.now);
    else if (field === 'parents') merged[field] = mergeOwn(now[field], listOf(value), 'parentRef', options);
    else if (field === 'ancestors') merged[field] = mergeOwn(now[field], listOf(value), 'ancestorRef', options);
    else merged[field] = value;
  }
  return merged;
}

function mergeConditions(current: unknown, wanted: readonly unknown[], now: string, keepOthers: boolean): unknown[] {
  const left = new Map(wanted.filter(isFields).map((condition) => [condition.type, condition]));
  const merged: unknown[] = [];
  for (const before of listOf(current)) {
    const { type, status, lastTransitionTime } = fieldsOf(before);
    const condition = left.get(type);
    left.delete(type);
    if (condition !== undefined) {
      const same = status === condition.status && typeof lastTransitionTime === 'string';
      merged.push({ ...condition, lastTransitionTime: same ? lastTransitionTime : now });
    } else if (keepOthers) merged.push(before);
  }
  return [...merged, ...[...left.values()].map((condition) => ({ ...condition, lastTransitionTime: now }))];
}

function mergeListeners(current: unknown, wanted: readonly unknown[], now: string): unknown[] {
  const before = new Map(listOf(current).map((listener) => [fieldsOf(listener).name, fieldsOf(listener)]));
  return wanted.filter(isFields).map((listener) => ({
    ...listener,
    conditions: mergeConditions(before.get(listener.name)?.conditions, listOf(listener.conditions), now, false),
  }));
}

/** Entries by controller and by the object that they refer to: parents of routes, ancestors of policies. */
function mergeOwn(
  current: unknown,
  wanted: readonly unknown[],
  refField: 'parentRef' | 'ancestorRef',
  options: MergeOptions,
): unknown[] {
  const left = wanted.filter(isFields);
  const merged: unknown[] = [];
  for (const entry of listOf(current)) {
    const before = fieldsOf(entry);
    if (before.controllerName !== options.controllerName) {
      merged.push(entry);
      continue;
    }
    const at = left.findIndex((candidate) => sameRef(candidate[refField], before[refField], options.namespace));
    const [found] = at < 0 ? [] : left.splice(at, 1);
    if (found === undefined) continue;
    const conditions = mergeConditions(before.conditions, listOf(found.conditions), options.now, false);
    // the server fills in defaults of the reference: its spelling stays
    merged.push({ ...found, [refField]: before[refField], conditions });
  }
  const added = left.map((entry) => ({
    ...entry,
    conditions: mergeConditions(undefined, listOf(entry.conditions), options.now, false),
  }));
  return [...merged, ...added];
}

function sameRef(a: unknown, b: unknown, namespace: string | undefined): boolean {
  const [one, other] = [fieldsOf(a), fieldsOf(b)];
  const same = (field: string, byDefault?: string) => (one[field] ?? byDefault) === (other[field] ?? byDefault);
  return (
    same('group', 'gateway.networking.k8s.io') &&
    same('kind', 'Gateway') &&
    same('namespace', namespace) &&
    same('name') &&
    same('sectionName') &&
    same('port')
  );
}
