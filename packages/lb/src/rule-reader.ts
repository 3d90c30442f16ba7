/** A value somewhere inside a rule, with the path that leads there. Reading never throws; what is wrong becomes a condition. */
export interface RuleNode {
  readonly path: string;
  readonly value: unknown;
}

/** Collects what a rule asks for and does not get. */
export type Conditions = string[];

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

/** The value as a map of fields; anything else but undefined and null is a condition and reads as empty. */
export function readObject(node: RuleNode, conditions: Conditions): Fields {
  const fields = fieldsOf(node.value);
  if (fields !== undefined) return fields;
  if (node.value !== undefined && node.value !== null) conditions.push(`${node.path}: must be an object, ignored`);
  return {};
}

/** A field of an object that {@link readObject} has accepted. */
export function childOf(node: RuleNode, field: string): RuleNode {
  const fields = fieldsOf(node.value);
  return { path: `${node.path}.${field}`, value: fields && Object.hasOwn(fields, field) ? fields[field] : undefined };
}

/** The elements of a list; anything else but undefined and null is a condition and reads as empty. */
export function readList(node: RuleNode, conditions: Conditions): readonly RuleNode[] {
  if (node.value === undefined || node.value === null) return [];
  if (!Array.isArray(node.value)) {
    conditions.push(`${node.path}: must be a list, ignored`);
    return [];
  }
  return node.value.map((value, i) => ({ path: `${node.path}[${i}]`, value }));
}

/** A non-empty string, or undefined. */
export function readText(node: RuleNode, conditions: Conditions): string | undefined {
  if (node.value === undefined || node.value === null) return undefined;
  if (typeof node.value === 'string' && node.value !== '') return node.value;
  conditions.push(`${node.path}: must be a non-empty string, ignored`);
  return undefined;
}

/** A whole number within bounds, also when written as text or wrapped as `{ value: n }`; or undefined. */
export function readCount(node: RuleNode, max: number, conditions: Conditions): number | undefined {
  const wrapped = fieldsOf(node.value);
  const value = wrapped && Object.hasOwn(wrapped, 'value') ? wrapped.value : node.value;
  if (value === undefined || value === null) return undefined;
  const count = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof count === 'number' && Number.isInteger(count) && count >= 0 && count <= max) return count;
  conditions.push(`${node.path}: must be a whole number from 0 to ${max}, ignored`);
  return undefined;
}

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 0.001, ns: 0.000_001 };

/** A duration as Go and protobuf write it (`30s`, `1m30s`, `0.5s`), in milliseconds; or undefined. */
export function readDurationMs(node: RuleNode, conditions: Conditions): number | undefined {
  if (node.value === undefined || node.value === null) return undefined;
  if (node.value === 0 || node.value === '0') return 0;
  const text = typeof node.value === 'string' && node.value.length <= 64 ? node.value : '';
  if (/^(\d+(\.\d+)?(h|ms|m|s|us|ns))+$/.test(text)) {
    let total = 0;
    for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)/g)) {
      total += Number(amount) * (UNIT_MS[unit as string] as number);
    }
    if (Number.isFinite(total) && total <= Number.MAX_SAFE_INTEGER) return total;
  }
  conditions.push(`${node.path}: must be a duration such as 30s, ignored`);
  return undefined;
}

/** A condition for each field that is set and not among the known ones. */
export function refuseOthers(node: RuleNode, known: readonly string[], reason: string, conditions: Conditions): void {
  for (const [field, value] of Object.entries(fieldsOf(node.value) ?? {})) {
    if (value !== undefined && value !== null && !known.includes(field)) {
      conditions.push(`${node.path}.${field}: ${reason}, ignored`);
    }
  }
}

/** How a value looks in a condition: short, on one line. */
export function shown(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    text = undefined; // cyclic or exotic: only its type can be shown
  }
  return (text ?? typeof value).slice(0, 60);
}
