import type { ConfigProblem } from './errors.ts';
import type { Field, Leaf, ListField, NumberField, ObjectListField, RecordField, Section } from './fields.ts';
import type { TextFormat } from './formats.ts';
import { MAX_ITEMS, MAX_REPORTED, MAX_SHOWN_CHARS } from './options.ts';
import { suggest } from './suggest.ts';
import { isNull, joinPath, type MapEntry, sameKey, sameTree, type Tree } from './tree.ts';

/** Reads a tree by a schema: gives the complete value, and collects everything that is wrong or odd. */
export class Checker {
  readonly problems: ConfigProblem[] = [];
  readonly warnings: ConfigProblem[] = [];
  /** Every key of the schema with its paths, for keys that stand at the wrong place. */
  readonly #places: ReadonlyMap<string, readonly string[]>;

  constructor(places: ReadonlyMap<string, readonly string[]> = new Map()) {
    this.#places = places;
  }

  problem(path: string, message: string, line?: number): void {
    report(this.problems, path, message, line);
  }

  warn(path: string, message: string, line?: number): void {
    report(this.warnings, path, message, line);
  }

  /** The value of one field; its default where nothing, or null, or something wrong is given. */
  read(field: Field, tree: Tree | undefined, path: string): unknown {
    if (field.kind === 'section') return this.#section(field, tree, path);
    const value = this.#leaf(field, tree, path);
    if (field.unused !== undefined && value !== field.default) this.warn(path, `has no effect: ${field.unused}`);
    return value;
  }

  #leaf(field: Leaf, tree: Tree | undefined, path: string): unknown {
    if (tree === undefined || isNull(tree)) return field.default;
    switch (field.kind) {
      case 'boolean':
        return this.#boolean(tree, path) ?? field.default;
      case 'integer':
      case 'number':
        return this.#number(field, tree, path) ?? field.default;
      case 'choice':
        return this.#choice(field.choices, tree, path) ?? field.default;
      case 'text':
        return this.#text(field.format, tree, path, field.mayBeEmpty) ?? field.default;
      case 'list':
        return this.#list(field, tree, path);
      case 'objects':
        return this.#objects(field, tree, path);
      case 'record':
        return this.#record(field, tree, path);
    }
  }

  #section(section: Section, tree: Tree | undefined, path: string): unknown {
    let entries: readonly MapEntry[] = [];
    if (tree?.kind === 'map') entries = this.#unique(tree.entries, path);
    else if (tree !== undefined && !isNull(tree)) this.#expected('an object (key: value)', tree, path);
    const value: Record<string, unknown> = {};
    for (const [key, field] of Object.entries(section.fields)) {
      value[key] = this.read(field, entries.find((entry) => sameKey(entry.key, key))?.value, joinPath(path, key));
    }
    for (const entry of entries) this.#unknownKey(section, entry, path);
    return value;
  }

  #unknownKey(section: Section, { key, line }: MapEntry, path: string): void {
    const known = Object.keys(section.fields);
    if (known.some((name) => sameKey(name, key))) return;
    // The search for a near key costs more than anything else here: not for warnings that nobody will see.
    if (this.warnings.length >= MAX_REPORTED) return;
    const shown = shorten(key);
    const obsolete = Object.entries(section.obsolete).find(([name]) => sameKey(name, key));
    if (obsolete !== undefined) {
      this.warn(joinPath(path, shown), `${obsolete[0]} ${obsolete[1]}`, line);
      return;
    }
    const near = suggest(key, known);
    const elsewhere = this.#places.get(key.toLowerCase());
    const hint =
      near !== undefined
        ? `; did you mean ${near}?`
        : elsewhere !== undefined
          ? `; did you mean ${elsewhere.slice(0, 3).join(' or ')}?`
          : '';
    this.warn(joinPath(path, shown), `unknown key, it has no effect${hint}`, line);
  }

  /** Keys given twice: the same value is odd (the original's Helm chart does it), different ones are wrong. */
  #unique(entries: readonly MapEntry[], path: string): readonly MapEntry[] {
    const seen = new Map<string, MapEntry>();
    for (const entry of entries) {
      const folded = entry.key.toLowerCase();
      const first = seen.get(folded);
      if (first === undefined) {
        seen.set(folded, entry);
        continue;
      }
      const where = joinPath(path, shorten(entry.key));
      const before = first.line === undefined ? '' : `, first in line ${first.line}`;
      if (sameTree(first.value, entry.value)) this.warn(where, `given twice with the same value${before}`, entry.line);
      else this.problem(where, `expected the key once, found it again with another value${before}`, entry.line);
    }
    return [...seen.values()];
  }

  #boolean(tree: Tree, path: string): boolean | undefined {
    if (tree.kind === 'scalar') {
      if (typeof tree.value === 'boolean') return tree.value;
      // YAML 1.1, which the original reads, has more words for booleans than YAML 1.2.
      if (tree.plain && /^(y|yes|on|true)$/i.test(tree.source)) return true;
      if (tree.plain && /^(n|no|off|false)$/i.test(tree.source)) return false;
    }
    return this.#expected('true or false', tree, path);
  }

  #number(field: NumberField, tree: Tree, path: string): number | undefined {
    const whole = field.kind === 'integer';
    const expected = `a ${whole ? 'whole number' : 'number'} from ${field.min} to ${field.max}${field.unit ? ` (${field.unit})` : ''}`;
    if (tree.kind !== 'scalar' || typeof tree.value !== 'number') return this.#expected(expected, tree, path);
    const { value, source } = tree;
    if (tree.plain && /^[-+]?0\d/.test(source)) return this.#expected(`${expected}, without leading zeros`, tree, path);
    if (!(value >= field.min && value <= field.max) || (whole && !Number.isInteger(value)))
      return this.#expected(expected, tree, path);
    return value === 0 ? 0 : value;
  }

  #choice(choices: readonly string[], tree: Tree, path: string): string | undefined {
    if (tree.kind === 'scalar' && choices.includes(tree.source)) return tree.source;
    const near = tree.kind === 'scalar' ? suggest(tree.source, choices) : undefined;
    return this.#expected(
      `one of ${choices.join(', ')}`,
      tree,
      path,
      near === undefined ? '' : `; did you mean ${near}?`,
    );
  }

  #text(format: TextFormat, tree: Tree, path: string, mayBeEmpty: boolean): string | undefined {
    if (tree.kind === 'scalar' && tree.value !== null) {
      const source = String(typeof tree.value === 'string' ? tree.value : tree.source).trim();
      if (source === '' && mayBeEmpty) return '';
      const value = format.read(source);
      if (value !== undefined) return value;
    }
    return this.#expected(mayBeEmpty ? `${format.expected}, or ""` : format.expected, tree, path);
  }

  #list(field: ListField, tree: Tree, path: string): readonly string[] {
    if (field.commaText && tree.kind === 'scalar') return this.#commaText(field, tree, path);
    if (tree.kind !== 'list') {
      this.#expected(`a list, each item ${field.format.expected}`, tree, path);
      return field.default;
    }
    const values = tree.items.map((item, i) => this.#text(field.format, item, `${path}[${i}]`, false));
    return this.#limited([...new Set(values.filter((value) => value !== undefined))], tree, path);
  }

  #commaText(field: ListField, tree: Tree & { kind: 'scalar' }, path: string): readonly string[] {
    const parts = String(tree.value)
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '');
    if (parts.includes('*')) {
      if (parts.length > 1) this.#expected('"*" alone, or names without it', tree, path);
      return [];
    }
    const values = parts.map((part) => {
      const value = field.format.read(part);
      if (value === undefined)
        this.problem(
          path,
          `expected "*" or, with commas between, ${field.format.expected}; found ${show(part)}`,
          tree.line,
        );
      return value;
    });
    return this.#limited([...new Set(values.filter((value) => value !== undefined))], tree, path);
  }

  #objects(field: ObjectListField, tree: Tree, path: string): readonly unknown[] {
    if (tree.kind !== 'list') {
      this.#expected('a list of objects', tree, path);
      return field.default;
    }
    const values = tree.items.map((item, i) => {
      const itemPath = `${path}[${i}]`;
      if (isNull(item)) return this.#expected('an object (key: value)', item, itemPath);
      const value = this.#section(field.item, item, itemPath) as Record<string, unknown>;
      if (item.kind !== 'map') return undefined;
      for (const key of field.required) {
        const given = item.entries.find((entry) => sameKey(entry.key, key))?.value;
        const empty = given === undefined || (given.kind === 'scalar' && (given.value === null || given.value === ''));
        if (empty) this.problem(joinPath(itemPath, key), 'expected a value, found none', given?.line ?? item.line);
      }
      return value;
    });
    return this.#limited(
      values.filter((value) => value !== undefined),
      tree,
      path,
    );
  }

  #record(field: RecordField, tree: Tree, path: string): Readonly<Record<string, readonly string[]>> {
    if (tree.kind !== 'map') {
      this.#expected(`an object, each key ${field.keyFormat.expected}`, tree, path);
      return field.default;
    }
    const values: [string, readonly string[]][] = [];
    const item: ListField = { kind: 'list', default: [], format: field.format, commaText: false, description: '' };
    for (const entry of this.#unique(tree.entries, path)) {
      const key = field.keyFormat.read(entry.key);
      const itemPath = joinPath(path, shorten(entry.key));
      if (key === undefined) this.problem(itemPath, `expected as key ${field.keyFormat.expected}`, entry.line);
      // One server may stand there without a list around it.
      const inList: Tree =
        entry.value.kind === 'scalar' ? { kind: 'list', items: [entry.value], line: entry.line } : entry.value;
      const list = this.#list(item, inList, itemPath);
      if (key !== undefined) values.push([key, list]);
    }
    return Object.fromEntries(this.#limited(values, tree, path));
  }

  #limited<T>(values: readonly T[], tree: Tree, path: string): readonly T[] {
    if (values.length > MAX_ITEMS)
      this.problem(path, `expected at most ${MAX_ITEMS} entries, found ${values.length}`, tree.line);
    return values;
  }

  #expected(expected: string, tree: Tree, path: string, hint = ''): undefined {
    const quoted =
      tree.kind === 'scalar' &&
      typeof tree.value === 'string' &&
      !tree.plain &&
      /^(true|false|[\d.]+)$/.test(tree.value);
    const advice = hint === '' && quoted && /number|true or false/.test(expected) ? '; remove the quotes' : hint;
    this.problem(path, `expected ${expected}; found ${describe(tree)}${advice}`, tree.line);
    return undefined;
  }
}

function report(into: ConfigProblem[], path: string, message: string, line?: number): void {
  if (into.length < MAX_REPORTED) into.push(line === undefined ? { path, message } : { path, message, line });
}

function describe(tree: Tree): string {
  if (tree.kind === 'list') return `a list of ${tree.items.length}`;
  if (tree.kind === 'map') return 'an object';
  if (tree.value === null) return 'nothing';
  return typeof tree.value === 'string' ? `the text ${show(tree.value)}` : shorten(tree.source);
}

function show(text: string): string {
  return JSON.stringify(shorten(text));
}

function shorten(text: string): string {
  return text.length <= MAX_SHOWN_CHARS ? text : `${text.slice(0, MAX_SHOWN_CHARS)}...`;
}
