import { type Endpoint, type KubeObject, serviceId } from '@edgemesh/core';
import { addEndpoints, type BackendAddress, type Backends, readBackendPorts, readTargetRef } from './backends.ts';
import { addressOf, describe, dnsNameOf, type Fields, fieldsOf, listOf, textOf } from './read.ts';
import { createReport, type Normalised } from './report.ts';
import { sharedTextOf } from './shared-text.ts';
import { compareText } from './text.ts';

/** The label that binds a slice to its Service. */
export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

type AddressType = 'IPv4' | 'IPv6' | 'FQDN';

/**
 * Normalises discovery.k8s.io/v1 EndpointSlice. A slice without the service-name label belongs to no Service: no value
 * and no problem. All addresses of an endpoint are used (the API calls them fungible), bad ones are dropped and reported.
 */
export function normaliseEndpointSlice(object: KubeObject): Normalised<Backends> {
  const { metadata } = object;
  const namespace = metadata.namespace ?? '';
  const report = createReport('EndpointSlice', namespace, metadata.name);
  const service = textOf(fieldsOf(metadata.labels)[SERVICE_NAME_LABEL]);
  if (service === undefined) return { problems: report.problems };
  if (!namespace) report.problem('metadata.namespace', 'is missing');
  if (service.includes('/')) report.problem(`metadata.labels.${SERVICE_NAME_LABEL}`, 'is not a name');
  const type = object.addressType;
  if (type !== 'IPv4' && type !== 'IPv6' && type !== 'FQDN') {
    report.problem('addressType', `is unknown: ${describe(type)}`);
    return { problems: report.problems };
  }
  if (report.problems.length > 0) return { problems: report.problems };
  const ports = readBackendPorts(object.ports, 'ports', report);
  const endpoints: Endpoint[] = [];
  outer: for (const [i, raw] of listOf(object.endpoints).entries()) {
    const entry = fieldsOf(raw);
    const shared = readShared(entry, namespace);
    for (const [j, text] of listOf(entry.addresses).entries()) {
      const address = readAddress(text, type);
      if (address === undefined) {
        report.problem(`endpoints[${i}].addresses[${j}]`, `is not an ${type} address: ${describe(text)}`);
      } else if (!addEndpoints(endpoints, { address, ...shared }, ports, report)) break outer;
    }
  }
  return {
    value: { service: serviceId(namespace, service), source: metadata.name, endpoints },
    problems: report.problems,
  };
}

function readAddress(value: unknown, type: AddressType): string | undefined {
  const address = type === 'FQDN' ? dnsNameOf(value) : addressOf(value);
  if (address === undefined || type === 'FQDN') return address;
  return address.includes(':') === (type === 'IPv6') ? address : undefined;
}

function readShared(entry: Fields, namespace: string): Omit<BackendAddress, 'address'> {
  const conditions = fieldsOf(entry.conditions);
  // the API's reading of absent conditions: ready unless said otherwise, serving like ready, not terminating
  const ready = conditions.ready !== false;
  const serving = typeof conditions.serving === 'boolean' ? conditions.serving : ready;
  const hints = fieldsOf(entry.hints);
  const hintZones = readNames(hints.forZones);
  const hintNodes = readNames(hints.forNodes);
  const nodeName = sharedTextOf(entry.nodeName);
  const hostname = textOf(entry.hostname);
  const zone = sharedTextOf(entry.zone);
  const targetRef = readTargetRef(entry.targetRef, namespace);
  return {
    ...(nodeName !== undefined && { nodeName }),
    ...(hostname !== undefined && { hostname }),
    ...(zone !== undefined && { zone }),
    ...(hintZones !== undefined && { hintZones }),
    ...(hintNodes !== undefined && { hintNodes }),
    ready,
    serving,
    terminating: conditions.terminating === true,
    ...(targetRef !== undefined && { targetRef }),
  };
}

/** Names of topology hints, sorted; undefined where there is none, which means everybody. */
function readNames(value: unknown): readonly string[] | undefined {
  const names = listOf(value).flatMap((entry) => sharedTextOf(fieldsOf(entry).name) ?? []);
  return names.length === 0 ? undefined : [...new Set(names)].sort(compareText);
}
