import { messageOf } from '@edgemesh/core';
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type YAMLMap,
} from 'yaml';
import type { ConfigProblem } from './errors.ts';
import { MAX_DEPTH, MAX_NODES, MAX_SYNTAX_ERRORS, MAX_TEXT_BYTES } from './options.ts';
import { EMPTY_MAP, type MapEntry, type Tree, TreeError } from './tree.ts';

const TOO_DEEP = `expected at most ${MAX_DEPTH} levels of nesting`;

export type YamlResult =
  | { readonly tree: Tree }
  | { readonly problems: readonly ConfigProblem[]; readonly cause?: unknown };

/** Reads one YAML document. Nothing at all (empty, only comments) is an empty object. Never throws. */
export function readYaml(text: unknown): YamlResult {
  if (typeof text !== 'string')
    return problem(`expected YAML text, found ${text === null ? 'null' : `a value of type ${typeof text}`}`);
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_TEXT_BYTES) return problem(`expected at most ${MAX_TEXT_BYTES} bytes, found ${bytes}`);
  try {
    return readDocuments(text);
  } catch (error) {
    // The parser is recursive and gives up on absurd nesting with a RangeError; nothing it throws may reach the caller.
    const nesting = error instanceof RangeError;
    const message = nesting ? TOO_DEEP : `this is not YAML: ${messageOf(error)}`;
    return { ...problem(message), cause: error };
  }
}

function problem(message: string, line?: number): { readonly problems: readonly ConfigProblem[] } {
  return { problems: [{ path: '', message, ...(line === undefined ? {} : { line }) }] };
}

function readDocuments(text: string): YamlResult {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, {
    lineCounter: lines,
    uniqueKeys: false,
    strict: true,
    logLevel: 'silent',
    prettyErrors: false,
  });
  const documents = Array.isArray(parsed) ? (parsed as Document.Parsed[]) : [];
  const errors = documents.flatMap((document) => document.errors);
  if (errors.length > 0) {
    const source = text.split(/\r?\n/);
    const found = new Map<string, ConfigProblem>();
    // One slip makes a row of errors of one kind: the first ones say it all, and looking at each would take long.
    for (const { message, pos } of errors.slice(0, MAX_SYNTAX_ERRORS)) {
      const { line } = lines.linePos(pos[0]);
      // The composer of the library reports its own stack overflow in this way.
      const tooDeep = message.includes('call stack');
      const hinted = tooDeep ? TOO_DEEP : `this is not YAML: ${message}${hintFor(source[line - 1] ?? '')}`;
      found.set(`${line} ${message}`, { path: '', message: hinted, line });
    }
    return { problems: [...found.values()] };
  }
  const filled = documents.filter(
    ({ contents }) => contents !== null && !(isScalar(contents) && contents.value === null),
  );
  if (filled.length > 1) {
    const line = lines.linePos(filled[1]?.contents?.range?.[0] ?? 0).line;
    return problem('expected one YAML document, found a second one; a configuration file holds one', line);
  }
  const contents = filled[0]?.contents;
  if (contents === undefined || contents === null) return { tree: EMPTY_MAP };
  try {
    return { tree: new Converter(lines).convert(contents, 0) };
  } catch (error) {
    if (error instanceof TreeError) return problem(error.message, Number(error.path));
    throw error;
  }
}

/** What usually is behind a syntax error on such a line. */
function hintFor(line: string): string {
  if (/:\s*\*\s*$/.test(line)) return `; write "*" in quotes`;
  if (/^\s*\t|^\t/.test(line)) return '; indent with spaces, not tabs';
  if (/["']\s*,\s*$/.test(line)) return '; remove the comma at the end of the line';
  if (/\{\{|\}\}/.test(line)) return '; this looks like a template that was not filled in';
  return '';
}

/** Turns nodes into a tree in the order of the text, so that an alias finds its anchor, and never grows past the limits. */
class Converter {
  readonly #lines: LineCounter;
  readonly #anchors = new Map<string, { readonly tree: Tree; readonly size: number }>();
  #nodes = 0;

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  convert(node: unknown, depth: number): Tree {
    const line = this.#lineOf(node);
    this.#spend(1, line);
    if (depth > MAX_DEPTH) throw new TreeError(String(line), TOO_DEEP);
    if (isAlias(node)) {
      const known = this.#anchors.get(node.source);
      if (known === undefined)
        throw new TreeError(String(line), `the alias *${node.source} has no finished anchor before it`);
      this.#spend(known.size, line);
      return known.tree;
    }
    const before = this.#nodes;
    const tree = this.#convertValue(node, line, depth);
    const anchor = (node as { anchor?: string } | null)?.anchor;
    if (anchor !== undefined) this.#anchors.set(anchor, { tree, size: this.#nodes - before + 1 });
    return tree;
  }

  #convertValue(node: unknown, line: number, depth: number): Tree {
    if (isMap(node)) return { kind: 'map', entries: this.#entries(node, depth), line };
    if (isSeq(node)) return { kind: 'list', items: node.items.map((item) => this.convert(item, depth + 1)), line };
    if (!isScalar(node)) return { kind: 'scalar', value: null, source: '', plain: true, line };
    const { value } = node;
    const source = node.source ?? String(value);
    const plain = node.type === undefined || node.type === 'PLAIN';
    if (value === null || typeof value === 'string' || typeof value === 'boolean')
      return { kind: 'scalar', value, source, plain, line };
    return { kind: 'scalar', value: typeof value === 'number' ? value : source, source, plain, line };
  }

  #entries(map: YAMLMap, depth: number): MapEntry[] {
    const entries: MapEntry[] = [];
    const merged: MapEntry[] = [];
    for (const pair of map.items) {
      const line = this.#lineOf(pair.key);
      if (isCollection(pair.key) || isAlias(pair.key))
        throw new TreeError(
          String(line),
          'expected a name as key, found a structure; is this a template that was not filled in?',
        );
      const key = isScalar(pair.key) ? (pair.key.source ?? String(pair.key.value)) : '';
      const value = this.convert(pair.value, depth + 1);
      if (key === '<<') merged.push(...mergeSources(value, line));
      else entries.push({ key, value, line });
    }
    // YAML merge keys: what stands in the map itself wins, then the first source.
    const present = new Set(entries.map(({ key }) => key));
    for (const entry of merged) {
      if (present.has(entry.key)) continue;
      present.add(entry.key);
      entries.push(entry);
    }
    return entries;
  }

  #spend(nodes: number, line: number): void {
    this.#nodes += nodes;
    if (this.#nodes > MAX_NODES)
      throw new TreeError(String(line), `expected at most ${MAX_NODES} values, aliases included`);
  }

  #lineOf(node: unknown): number {
    return this.#lines.linePos((node as Node | null)?.range?.[0] ?? 0).line;
  }
}

function mergeSources(value: Tree, line: number): readonly MapEntry[] {
  const sources = value.kind === 'list' ? value.items : [value];
  return sources.flatMap((source) => {
    if (source.kind === 'map') return source.entries;
    throw new TreeError(String(line), 'expected an object after the merge key <<');
  });
}
