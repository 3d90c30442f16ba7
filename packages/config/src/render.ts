import type { Leaf, Section } from './fields.ts';
import { type ConfigKind, KINDS } from './schema/kinds.ts';

/**
 * The complete file of a kind with every default and a comment on each key (`--defaultconfig`). Parsed, it gives what an
 * empty file gives.
 */
export function renderDefaultConfig(kind: ConfigKind): string {
  const { schema, modules } = KINDS[kind];
  const lines = head(kind);
  sectionLines(schema, '', modules, lines);
  return `${lines.join('\n')}\n`;
}

/** The smallest useful file of a kind (`--minconfig`): what it is, and the modules switched on. */
export function renderMinConfig(kind: ConfigKind): string {
  const lines = head(kind);
  let open: readonly string[] = [];
  for (const [path, value] of Object.entries(KINDS[kind].min)) {
    const keys = path.split('.');
    const shared = open.findIndex((key, depth) => keys[depth] !== key);
    for (let depth = shared < 0 ? open.length : shared; depth < keys.length - 1; depth++) {
      lines.push(`${indent(depth)}${keys[depth]}:`);
    }
    lines.push(`${indent(keys.length - 1)}${keys.at(-1)}: ${scalar(value)}`);
    open = keys.slice(0, -1);
  }
  return `${lines.join('\n')}\n`;
}

function head(kind: ConfigKind): string[] {
  return [`apiVersion: ${KINDS[kind].apiVersion}`, `kind: ${kind}`];
}

function indent(depth: number): string {
  return '  '.repeat(depth);
}

function sectionLines(section: Section, pad: string, modules: readonly string[] | undefined, lines: string[]): void {
  for (const [key, field] of Object.entries(section.fields)) {
    lines.push(`${pad}# ${commentOf(field)}`);
    if (field.kind !== 'section') {
      lines.push(`${pad}${key}: ${defaultText(field)}`);
      continue;
    }
    lines.push(`${pad}${key}:`);
    const shown = key === 'modules' && modules !== undefined ? pick(field, modules) : field;
    sectionLines(shown, `${pad}  `, undefined, lines);
  }
}

function pick(section: Section, keys: readonly string[]): Section {
  return {
    ...section,
    fields: Object.fromEntries(Object.entries(section.fields).filter(([key]) => keys.includes(key))),
  };
}

function commentOf(field: Section | Leaf): string {
  if (field.kind === 'section') return field.description;
  const unit = field.unit === undefined ? '' : ` [${field.unit}]`;
  const choices = field.kind === 'choice' ? ` One of: ${field.choices.join(', ')}.` : '';
  return `${field.description}${choices}${unit}`;
}

/** A default as it is written in a file. */
export function defaultText(field: Leaf): string {
  switch (field.kind) {
    case 'list':
      return field.commaText ? '"*"' : '[]';
    case 'objects':
      return '[]';
    case 'record':
      return '{}';
    default:
      return scalar(field.default);
  }
}

/** Texts that no YAML reader, 1.1 included, takes for anything else stay without quotes. */
function scalar(value: string | number | boolean): string {
  if (typeof value !== 'string') return String(value);
  const plain = /^[A-Za-z/][\w./-]*$/.test(value) && !/^(y|n|yes|no|on|off|true|false|null)$/i.test(value);
  return plain ? value : JSON.stringify(value);
}
