import type { KubeObject } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { normaliseAny } from '../normalize/any.ts';
import { isFields, textOf } from '../normalize/read.ts';
import { cutDocuments, readPiece } from './documents.ts';

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

/**
 * Parses YAML or JSON text: several documents, `List` and typed lists. Objects without a namespace get the default one
 * where their kind has namespaces; a resourceVersion is dropped, as the file alone is the truth. Never throws.
 */
export function parseManifest(text: string, file: string, defaultNamespace = 'default'): ParsedManifest {
  const steps = parseSteps(text, file, defaultNamespace);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** As {@link parseManifest}, a document at a time: the caller decides when to pause. */
export function* parseSteps(
  text: string,
  file: string,
  defaultNamespace: string,
): Generator<void, ParsedManifest, void> {
  const problems: DiscoveryError[] = [];
  const problem = (line: number, message: string) => {
    problems.push(new DiscoveryError('invalid-manifest', `${file}:${line}: ${message}`, { file, line }));
  };
  const objects: KubeObject[] = [];
  for (const piece of cutDocuments(text)) {
    for (const { value, line } of readPiece(piece, problem)) {
      const object = withDefaults(value, defaultNamespace);
      const { value: normalised, problems: found } = normaliseAny(object);
      for (const { message } of found) problem(line, message);
      if (normalised) objects.push(object as KubeObject);
    }
    yield;
  }
  return { objects, problems };
}

function withDefaults(value: unknown, defaultNamespace: string): unknown {
  if (!isFields(value) || !isFields(value.metadata)) return value;
  const { resourceVersion: _version, ...metadata } = value.metadata;
  const scoped = typeof value.kind === 'string' && CLUSTER_SCOPED.has(value.kind);
  const namespace = textOf(metadata.namespace) ?? (scoped ? undefined : defaultNamespace);
  return { ...value, metadata: { ...metadata, ...(namespace !== undefined && { namespace }) } };
}
