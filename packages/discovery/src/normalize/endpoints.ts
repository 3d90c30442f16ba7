import { type Endpoint, type KubeObject, serviceId } from '@edgemesh/core';
import { addEndpoints, type BackendPort, type Backends, readBackendPorts, readTargetRef } from './backends.ts';
import { addressOf, describe, fieldsOf, listOf, textOf } from './read.ts';
import { createReport, type Normalised, type Report } from './report.ts';
import { sharedTextOf } from './shared-text.ts';

/** Normalises core/v1 Endpoints; it belongs to the Service of its own name. `notReadyAddresses` are endpoints that are not ready. */
export function normaliseEndpoints(object: KubeObject): Normalised<Backends> {
  const { metadata } = object;
  const namespace = metadata.namespace ?? '';
  const report = createReport('Endpoints', namespace, metadata.name);
  if (!namespace) {
    report.problem('metadata.namespace', 'is missing');
    return { problems: report.problems };
  }
  const endpoints: Endpoint[] = [];
  for (const [i, raw] of listOf(object.subsets).entries()) {
    const subset = fieldsOf(raw);
    const ports = readBackendPorts(subset.ports, `subsets[${i}].ports`, report);
    const at = { namespace, ports, report, into: endpoints };
    if (!addAddresses(subset.addresses, true, { ...at, field: `subsets[${i}].addresses` })) break;
    if (!addAddresses(subset.notReadyAddresses, false, { ...at, field: `subsets[${i}].notReadyAddresses` })) break;
  }
  const value = { service: serviceId(namespace, metadata.name), source: metadata.name, endpoints };
  return { value, problems: report.problems };
}

interface Subset {
  readonly namespace: string;
  readonly ports: readonly BackendPort[];
  readonly report: Report;
  readonly into: Endpoint[];
  readonly field: string;
}

function addAddresses(value: unknown, ready: boolean, { namespace, ports, report, into, field }: Subset): boolean {
  for (const [i, raw] of listOf(value).entries()) {
    const entry = fieldsOf(raw);
    const address = addressOf(entry.ip);
    if (address === undefined) {
      report.problem(`${field}[${i}].ip`, `is not an address: ${describe(entry.ip)}`);
      continue;
    }
    const nodeName = sharedTextOf(entry.nodeName);
    const hostname = textOf(entry.hostname);
    const targetRef = readTargetRef(entry.targetRef, namespace);
    const shared = {
      address,
      ...(nodeName !== undefined && { nodeName }),
      ...(hostname !== undefined && { hostname }),
      ready,
      serving: ready,
      terminating: false,
      ...(targetRef !== undefined && { targetRef }),
    };
    if (!addEndpoints(into, shared, ports, report)) return false;
  }
  return true;
}
