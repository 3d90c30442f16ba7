import type { KindSpec } from './kinds.ts';
import { isRecord, type Manifest } from './object.ts';
import type { StatusCause } from './status.ts';

/** Hands out cluster addresses from 10.96.0.0/12, upwards. */
export interface AddressPool {
  next(): string;
}

export function createAddressPool(): AddressPool {
  let last = (10 << 24) | (96 << 16) | 9;
  return {
    next() {
      last++;
      return [last >>> 24, (last >>> 16) & 255, (last >>> 8) & 255, last & 255].join('.');
    },
  };
}

/** Fills in what the real server fills in, for the kinds where clients look at it. `previous` keeps its address. */
export function applyDefaults(
  object: Manifest,
  kind: KindSpec,
  previous: Manifest | undefined,
  pool: AddressPool,
): Manifest {
  if (kind.group === '' && kind.kind === 'Service') return defaultService(object, previous, pool);
  if (kind.group === '' && kind.kind === 'Namespace') {
    const labels = {
      ...(object.metadata.labels as object | undefined),
      'kubernetes.io/metadata.name': object.metadata.name,
    };
    return {
      spec: { finalizers: ['kubernetes'] },
      status: { phase: 'Active' },
      ...object,
      metadata: { ...object.metadata, labels },
    };
  }
  if (kind.group === '' && kind.kind === 'Secret') return { type: 'Opaque', ...object };
  return object;
}

function defaultService(object: Manifest, previous: Manifest | undefined, pool: AddressPool): Manifest {
  const given = isRecord(object.spec) ? object.spec : {};
  const type = given.type ?? 'ClusterIP';
  const ports = Array.isArray(given.ports) ? given.ports.map(defaultPort) : undefined;
  const spec: Record<string, unknown> = { ...given, type, ...(ports && { ports }) };
  spec.sessionAffinity ??= 'None';
  if (type !== 'ExternalName') {
    const known = isRecord(previous?.spec) ? previous.spec : {};
    const clusterIP = given.clusterIP ?? (known.clusterIP as string | undefined) ?? pool.next();
    spec.clusterIP = clusterIP;
    spec.clusterIPs ??= [clusterIP];
    spec.internalTrafficPolicy ??= 'Cluster';
    spec.ipFamilyPolicy ??= 'SingleStack';
    spec.ipFamilies ??= [String(clusterIP).includes(':') ? 'IPv6' : 'IPv4'];
  }
  return { ...object, spec, status: object.status ?? { loadBalancer: {} } };
}

function defaultPort(port: unknown): unknown {
  if (!isRecord(port)) return port;
  return { protocol: 'TCP', targetPort: port.port, ...port };
}

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** What is wrong with an object; a small part of what the real server checks. */
export function validate(object: Manifest, kind: KindSpec): StatusCause[] {
  const causes: StatusCause[] = [];
  const refuse = (field: string, message: string) => causes.push({ reason: 'FieldValueInvalid', field, message });
  const name = object.metadata.name ?? '';
  const service = kind.group === '' && kind.kind === 'Service';
  if (name === '')
    causes.push({
      reason: 'FieldValueRequired',
      field: 'metadata.name',
      message: 'Required value: name or generateName is required',
    });
  else if (service && !LABEL.test(name)) {
    refuse(
      'metadata.name',
      `Invalid value: "${name}": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character`,
    );
  } else if (name.length > 253 || !SUBDOMAIN.test(name)) {
    refuse(
      'metadata.name',
      `Invalid value: "${name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character`,
    );
  }
  if (service) {
    const spec = isRecord(object.spec) ? object.spec : {};
    const needsPorts = spec.type !== 'ExternalName' && spec.clusterIP !== 'None';
    const ports = Array.isArray(spec.ports) ? spec.ports : [];
    if (needsPorts && ports.length === 0)
      causes.push({ reason: 'FieldValueRequired', field: 'spec.ports', message: 'Required value' });
  }
  return causes;
}
