import { groupKind, type KubeObject } from '@edgemesh/core';
import { MAX_NAME_LENGTH } from '../options.ts';
import { describe, type Fields, fieldsOf, isFields, listOf, textOf } from './read.ts';
import { createReport, type Normalised } from './report.ts';

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
const NODE_SPEC = ['podCIDR', 'podCIDRs', 'unschedulable'];
const NODE_STATUS = ['addresses'];
const POD_METADATA = [
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'creationTimestamp',
  'deletionTimestamp',
  'labels',
];
const POD_STATUS = ['phase', 'podIP', 'podIPs'];

/**
 * Checks the frame every object has (apiVersion, kind, a usable metadata.name) and takes off what nobody reads but what
 * costs memory and disk: managedFields, the last applied configuration, and the bulk of Nodes and Pods.
 */
export function normaliseObject(raw: unknown): Normalised<KubeObject> {
  const object = fieldsOf(raw);
  const metadata = fieldsOf(object.metadata);
  const kind = textOf(object.kind) ?? 'Object';
  const namespace = textOf(metadata.namespace) ?? '';
  const name = textOf(metadata.name) ?? '';
  const report = createReport(kind.slice(0, 64), namespace.slice(0, 64), name.slice(0, 64));
  if (!isFields(raw)) report.problem('', `is ${describe(raw)}, not an object`);
  else {
    if (!textOf(object.apiVersion)) report.problem('apiVersion', 'is missing');
    if (!textOf(object.kind)) report.problem('kind', 'is missing');
    if (!isName(metadata.name)) report.problem('metadata.name', `is not a name: ${describe(metadata.name)}`);
    if (metadata.namespace !== undefined && metadata.namespace !== '' && !isName(metadata.namespace)) {
      report.problem('metadata.namespace', `is not a name: ${describe(metadata.namespace)}`);
    }
  }
  if (report.problems.length > 0) return { problems: report.problems };
  return { value: trim(object as KubeObject), problems: report.problems };
}

/** No slash (it separates keys), no white space or control characters, not absurdly long. */
function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_NAME_LENGTH && /^[^\s/\p{Cc}]+$/u.test(value);
}

function trim(object: KubeObject): KubeObject {
  const { apiVersion, kind } = object;
  const metadata = trimMetadata(object.metadata);
  switch (groupKind(object)) {
    case 'Node':
      return {
        apiVersion,
        kind,
        metadata,
        spec: pick(object.spec, NODE_SPEC),
        status: pick(object.status, NODE_STATUS),
      };
    case 'Pod':
      return {
        apiVersion,
        kind,
        metadata: pick(metadata, POD_METADATA) as unknown as KubeObject['metadata'],
        spec: trimPodSpec(object.spec),
        status: pick(object.status, POD_STATUS),
      };
    case 'Namespace':
      return { apiVersion, kind, metadata };
    default:
      return { ...object, metadata };
  }
}

function trimMetadata(metadata: KubeObject['metadata']): KubeObject['metadata'] {
  const { managedFields: _fields, selfLink: _link, ...rest } = metadata as KubeObject['metadata'] & Fields;
  if (!isFields(rest.annotations) || !Object.hasOwn(rest.annotations, LAST_APPLIED))
    return rest as KubeObject['metadata'];
  const { [LAST_APPLIED]: _applied, ...annotations } = rest.annotations as Record<string, string>;
  return { ...rest, annotations } as KubeObject['metadata'];
}

function trimPodSpec(spec: unknown): Fields {
  const { containers, initContainers } = fieldsOf(spec);
  const kept = listOf(containers).map((container) => pick(container, ['name', 'ports']));
  // Sidecars go on running beside the containers and serve named ports too; other init containers are gone by then.
  const sidecars = listOf(initContainers)
    .filter((container) => fieldsOf(container).restartPolicy === 'Always')
    .map((container) => pick(container, ['name', 'ports', 'restartPolicy']));
  return {
    ...pick(spec, ['nodeName', 'hostNetwork', 'hostname', 'subdomain']),
    containers: kept,
    ...(sidecars.length > 0 && { initContainers: sidecars }),
  };
}

function pick(value: unknown, keys: readonly string[]): Fields {
  const fields = fieldsOf(value);
  return Object.fromEntries(keys.filter((key) => Object.hasOwn(fields, key)).map((key) => [key, fields[key]]));
}
