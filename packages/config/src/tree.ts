import { MAX_DEPTH, MAX_NODES } from './options.ts';

/** A value before it is checked, wherever it came from, with the line it came from. */
export type Tree = ScalarTree | ListTree | MapTree;

export interface ScalarTree {
  readonly kind: 'scalar';
  readonly value: string | number | boolean | null;
  /** As written: `0123` stays `0123` where a text is wanted. */
  readonly source: string;
  /** Written without quotes, so that YAML 1.1 readers would take `yes` for true. */
  readonly plain: boolean;
  readonly line?: number;
}

export interface ListTree {
  readonly kind: 'list';
  readonly items: readonly Tree[];
  readonly line?: number;
}

export interface MapTree {
  readonly kind: 'map';
  /** In the order of the text; a key may stand here twice. */
  readonly entries: readonly MapEntry[];
  readonly line?: number;
}

export interface MapEntry {
  readonly key: string;
  readonly value: Tree;
  readonly line?: number;
}

export const EMPTY_MAP: MapTree = { kind: 'map', entries: [] };

/** Why a value cannot become a {@link Tree}. Stays inside this package. */
export class TreeError extends Error {
  override readonly name = 'TreeError';
  readonly path: string;

  constructor(path: string, message: string) {
    super(message);
    this.path = path;
  }
}

/** Keys are the same when they differ in case only. */
export function sameKey(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

export function isNull(tree: Tree): boolean {
  return tree.kind === 'scalar' && tree.value === null;
}

export function joinPath(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

/** The tree of a plain JavaScript value. Undefined members are left out; anything but data is a {@link TreeError}. */
export function treeOf(value: unknown): Tree {
  let nodes = 0;
  const walk = (current: unknown, path: string, depth: number): Tree => {
    if (++nodes > MAX_NODES) throw new TreeError(path, `expected at most ${MAX_NODES} values`);
    if (depth > MAX_DEPTH) throw new TreeError(path, `expected at most ${MAX_DEPTH} levels of nesting`);
    if (current === null) return { kind: 'scalar', value: null, source: 'null', plain: false };
    if (typeof current === 'string' || typeof current === 'number' || typeof current === 'boolean') {
      return { kind: 'scalar', value: current, source: String(current), plain: false };
    }
    if (Array.isArray(current)) {
      return { kind: 'list', items: current.map((item: unknown, i) => walk(item, `${path}[${i}]`, depth + 1)) };
    }
    if (typeof current !== 'object') throw new TreeError(path, `expected data, found a ${typeof current}`);
    const entries: MapEntry[] = [];
    for (const [key, member] of Object.entries(current)) {
      if (member !== undefined) entries.push({ key, value: walk(member, joinPath(path, key), depth + 1) });
    }
    return { kind: 'map', entries };
  };
  return walk(value, '', 0);
}

/**
 * `over` laid upon `base`: objects merge key by key, everything else is replaced. A null on top changes nothing, and an
 * object does not cover what should have been one: that is for the check to find.
 */
export function mergeTrees(base: Tree, over: Tree): Tree {
  if (isNull(over)) return base;
  if (isNull(base)) return over;
  if (over.kind !== 'map') return over;
  if (base.kind !== 'map') return base;
  const entries: MapEntry[] = base.entries.map((entry) => {
    const upper = over.entries.findLast(({ key }) => sameKey(key, entry.key));
    return upper === undefined ? entry : { ...entry, value: mergeTrees(entry.value, upper.value) };
  });
  const added = over.entries.filter(({ key }) => !base.entries.some((entry) => sameKey(entry.key, key)));
  return { ...base, entries: [...entries, ...added] };
}

/** True when both hold the same values. */
export function sameTree(a: Tree, b: Tree): boolean {
  if (a.kind === 'scalar') return b.kind === 'scalar' && a.value === b.value;
  if (a.kind === 'list') {
    return (
      b.kind === 'list' &&
      a.items.length === b.items.length &&
      a.items.every((item, i) => sameTree(item, b.items[i] as Tree))
    );
  }
  if (b.kind !== 'map' || a.entries.length !== b.entries.length) return false;
  return a.entries.every((entry, i) => {
    const other = b.entries[i] as MapEntry;
    return sameKey(entry.key, other.key) && sameTree(entry.value, other.value);
  });
}

/** The tree with what stands at one dotted path taken out, and what was taken. Keys are matched as {@link sameKey}. */
export function takeAt(tree: Tree, path: readonly string[]): { readonly rest: Tree; readonly taken?: MapEntry } {
  const [head, ...tail] = path;
  if (tree.kind !== 'map' || head === undefined) return { rest: tree };
  const index = tree.entries.findLastIndex(({ key }) => sameKey(key, head));
  const entry = tree.entries[index];
  if (entry === undefined) return { rest: tree };
  if (tail.length === 0) return { rest: { ...tree, entries: tree.entries.toSpliced(index, 1) }, taken: entry };
  const { rest, taken } = takeAt(entry.value, tail);
  if (taken === undefined) return { rest: tree };
  return { rest: { ...tree, entries: tree.entries.with(index, { ...entry, value: rest }) }, taken };
}

/** A tree that holds `value` at the dotted path and nothing else. */
export function treeAt(path: readonly string[], value: Tree, line?: number): Tree {
  return path.reduceRight<Tree>((inner, key) => ({ kind: 'map', entries: [{ key, value: inner, line }], line }), value);
}
