import { messageOf } from '@edgemesh/core';
import { isMap, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';
import { fieldsOf, isFields } from '../normalize/read.ts';

/** A piece of a file with all of its documents whole. */
export interface Piece {
  readonly text: string;
  /** Lines of the file before it. */
  readonly linesBefore: number;
}

/** A value and where its text begins. */
export interface Located {
  readonly value: unknown;
  readonly line: number;
}

/** Told of every mistake. */
export type OnProblem = (line: number, message: string) => void;

/**
 * Cuts a file at its document markers, so that 8 MiB are neither one syntax tree nor one turn of the event loop. A marker at the start of a
 * line is one wherever it stands, inside block scalars too (YAML 1.2, 9.1.2); only directives reach beyond the marker that follows them.
 */
export function* cutDocuments(text: string): Generator<Piece, void, void> {
  if (/^%/m.test(text)) {
    yield { text, linesBefore: 0 };
    return;
  }
  let linesBefore = 0;
  for (const piece of text.split(/^(?=---(?:[ \t\r\n]|$))/m)) {
    yield { text: piece, linesBefore };
    for (let at = piece.indexOf('\n'); at >= 0; at = piece.indexOf('\n', at + 1)) linesBefore++;
  }
}

/** The values of a piece; lists become their items, nothing becomes nothing. */
export function readPiece({ text, linesBefore }: Piece, problem: OnProblem): readonly Located[] {
  const json = parseJson(text);
  // what comes from a program rather than a person: a hundred times as fast
  if (json !== undefined) return expand(json, linesBefore + 1, () => linesBefore + 1);
  const lines = new LineCounter();
  const located: Located[] = [];
  const lineAt = (offset: number) => linesBefore + lines.linePos(offset).line;
  const lineOf = (node: unknown, otherwise: number) => {
    const start = (node as Node | undefined)?.range?.[0];
    return start === undefined ? otherwise : lineAt(start);
  };
  for (const document of parseYaml(text, lines, (_, message) => problem(linesBefore + 1, message))) {
    if (document.errors.length > 0) {
      for (const error of document.errors) problem(lineAt(error.pos[0]), firstLine(error.message));
      continue;
    }
    const start = lineOf(document.contents, linesBefore + 1);
    const items = isMap(document.contents) ? document.contents.get('items', true) : undefined;
    try {
      // bounds what aliases can blow up to
      const value: unknown = document.toJS({ maxAliasCount: 100 });
      located.push(...expand(value, start, (i) => lineOf(isSeq(items) ? items.items[i] : undefined, start)));
    } catch (error) {
      problem(start, firstLine(messageOf(error)));
    }
  }
  return located;
}

/** The parser reports mistakes instead of throwing them, but its recursion runs out of stack on absurd nesting. */
function parseYaml(text: string, lines: LineCounter, problem: OnProblem) {
  try {
    return parseAllDocuments(text, { lineCounter: lines });
  } catch (error) {
    problem(1, firstLine(messageOf(error)));
    return [];
  }
}

function expand(value: unknown, line: number, itemLine: (index: number) => number): readonly Located[] {
  if (value === null || value === undefined) return [];
  const { kind, apiVersion, items } = fieldsOf(value);
  if (typeof kind !== 'string' || !kind.endsWith('List') || !Array.isArray(items)) return [{ value, line }];
  return items.map((item: unknown, i) => {
    // items of a typed list carry neither kind nor apiVersion
    const typed = kind !== 'List' && isFields(item) ? { apiVersion, kind: kind.slice(0, -4), ...item } : item;
    return { value: typed, line: itemLine(i) };
  });
}

function parseJson(text: string): unknown {
  const body = text.startsWith('---') ? text.slice(3) : text;
  if (!body.trimStart().startsWith('{')) return undefined;
  try {
    return JSON.parse(body);
  } catch {
    // flow-style YAML, or broken JSON whose line the YAML parser finds
    return undefined;
  }
}

function firstLine(message: string): string {
  return message.split('\n', 1)[0] as string;
}
