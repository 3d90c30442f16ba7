import { type KubeObject, messageOf } from '@edgemesh/core';
import { isMap, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';
import { DiscoveryError } from '../errors.ts';
import { normaliseAny } from '../normalize/any.ts';
import { fieldsOf, isFields, textOf } from '../normalize/read.ts';

/** Cluster-scoped kinds; everything else gets a namespace. */
const CLUSTER_SCOPED: ReadonlySet<string> = new Set([
  'APIService',
  'ClusterRole',
  'ClusterRoleBinding',
  'CustomResourceDefinition',
  'GatewayClass',
  'IngressClass',
  'MutatingWebhookConfiguration',
  'Namespace',
  'Node',
  'NodeGroup',
  'PersistentVolume',
  'PriorityClass',
  'StorageClass',
  'ValidatingWebhookConfiguration',
]);

/** What a manifest file says. */
export interface ParsedManifest {
  readonly objects: readonly KubeObject[];
  /** `invalid-manifest`, with file and line. A file with any problem is bad as a whole. */
  readonly problems: readonly DiscoveryError[];
}

interface Located {
  readonly value: unknown;
  readonly line: number;
}

/**
 * Parses YAML or JSON text: several documents, `List` and typed lists. Objects without a namespace get the default one
 * where their kind has namespaces; a resourceVersion is dropped, as the file alone is the truth. Never throws.
 */
export function parseManifest(text: string, file: string, defaultNamespace = 'default'): ParsedManifest {
  const problems: DiscoveryError[] = [];
  const problem = (line: number, message: string) => {
    problems.push(new DiscoveryError('invalid-manifest', `${file}:${line}: ${message}`, { file, line }));
  };
  const objects: KubeObject[] = [];
  for (const { value, line } of readDocuments(text, problem)) {
    const object = withDefaults(value, defaultNamespace);
    const { value: normalised, problems: found } = normaliseAny(object);
    for (const { message } of found) problem(line, message);
    if (normalised) objects.push(object as KubeObject);
  }
  return { objects, problems };
}

function readDocuments(text: string, problem: (line: number, message: string) => void): readonly Located[] {
  const json = parseJson(text);
  if (json !== undefined) return expand(json, 1, () => 1);
  const lines = new LineCounter();
  const located: Located[] = [];
  const lineOf = (node: unknown, otherwise: number) => {
    const start = (node as Node | undefined)?.range?.[0];
    return start === undefined ? otherwise : lines.linePos(start).line;
  };
  for (const document of parseYaml(text, lines, problem)) {
    if (document.errors.length > 0) {
      for (const error of document.errors) problem(lines.linePos(error.pos[0]).line, firstLine(error.message));
      continue;
    }
    const start = lineOf(document.contents, 1);
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
function parseYaml(text: string, lines: LineCounter, problem: (line: number, message: string) => void) {
  try {
    return parseAllDocuments(text, { lineCounter: lines });
  } catch (error) {
    problem(1, firstLine(messageOf(error)));
    return [];
  }
}

/** Lists become their items; nothing becomes nothing. */
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

function withDefaults(value: unknown, defaultNamespace: string): unknown {
  if (!isFields(value) || !isFields(value.metadata)) return value;
  const { resourceVersion: _version, ...metadata } = value.metadata;
  const scoped = typeof value.kind === 'string' && CLUSTER_SCOPED.has(value.kind);
  const namespace = textOf(metadata.namespace) ?? (scoped ? undefined : defaultNamespace);
  return { ...value, metadata: { ...metadata, ...(namespace !== undefined && { namespace }) } };
}

function parseJson(text: string): unknown {
  if (!text.trimStart().startsWith('{')) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // flow-style YAML, or broken JSON whose line the YAML parser finds
    return undefined;
  }
}

function firstLine(message: string): string {
  return message.split('\n', 1)[0] as string;
}
