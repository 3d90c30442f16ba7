import type { Endpoint, ObjectRef, Protocol, ServiceId } from '@edgemesh/core';
import { MAX_ENDPOINTS_PER_OBJECT } from '../options.ts';
import { describe, fieldsOf, listOf, portOf, textOf } from './read.ts';
import type { Report } from './report.ts';
import { protocolOf } from './service.ts';
import { sharedText, sharedTextOf } from './shared-text.ts';

/** The endpoints that one EndpointSlice or Endpoints object contributes to a Service. */
export interface Backends {
  readonly service: ServiceId;
  /** Name of the object, to make merging independent of order. */
  readonly source: string;
  readonly endpoints: readonly Endpoint[];
}

/** One port of a slice or subset. */
export interface BackendPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly appProtocol?: string;
}

/** What all ports of one address share. */
export type BackendAddress = Omit<Endpoint, 'port' | 'protocol' | 'portName' | 'appProtocol'>;

/**
 * A headless Service may have no ports at all; its addresses still have names. They become endpoints of port 0, which
 * DNS answers for and which no proxied port ever matches.
 */
const PORTLESS: readonly BackendPort[] = [{ name: '', port: 0, protocol: 'TCP' }];

/** Reads `ports` of a slice or subset. Ports without a number are not an address to connect to and are left out. */
export function readBackendPorts(value: unknown, field: string, report: Report): readonly BackendPort[] {
  const listed = listOf(value);
  if (listed.length === 0) return PORTLESS;
  const ports: BackendPort[] = [];
  for (const [i, entry] of listed.entries()) {
    const fields = fieldsOf(entry);
    const port = portOf(fields.port);
    const protocol = protocolOf(fields.protocol);
    if (port === undefined) report.problem(`${field}[${i}].port`, `is not a port: ${describe(fields.port)}`);
    if (protocol === undefined) report.problem(`${field}[${i}].protocol`, `is unknown: ${describe(fields.protocol)}`);
    if (port === undefined || protocol === undefined) continue;
    const appProtocol = sharedTextOf(fields.appProtocol);
    const name = sharedTextOf(fields.name) ?? '';
    if (ports.some((known) => known.name === name && known.port === port && known.protocol === protocol)) continue;
    ports.push({
      name,
      port,
      protocol,
      ...(appProtocol !== undefined && { appProtocol }),
    });
  }
  return ports;
}

/** Reads a `targetRef`; the namespace is that of the object unless it says otherwise. */
export function readTargetRef(value: unknown, namespace: string): ObjectRef | undefined {
  const fields = fieldsOf(value);
  const kind = textOf(fields.kind);
  const name = textOf(fields.name);
  if (kind === undefined || name === undefined) return undefined;
  return {
    kind: sharedText(kind),
    namespace: sharedTextOf(fields.namespace) ?? namespace,
    name,
  };
}

/** Adds one endpoint per port, up to the limit of an object. False when the limit is reached. */
export function addEndpoints(
  into: Endpoint[],
  address: BackendAddress,
  ports: readonly BackendPort[],
  report: Report,
): boolean {
  for (const port of ports) {
    if (into.length >= MAX_ENDPOINTS_PER_OBJECT) {
      report.problem('', `has more than ${MAX_ENDPOINTS_PER_OBJECT} endpoints, the rest is not used`);
      return false;
    }
    into.push(makeEndpoint(address, port));
  }
  return true;
}

/** Endpoints come by the hundred thousand, and an object written down in one piece takes half the memory of one put together. */
function makeEndpoint(of: BackendAddress, on: BackendPort): Endpoint {
  const { address, nodeName, targetRef, zone, ready, serving, terminating, ...rest } = of;
  const { port, protocol, name: portName, appProtocol } = on;
  const known = nodeName !== undefined && targetRef !== undefined && appProtocol === undefined;
  if (known && Object.keys(rest).length === 0) {
    return zone === undefined
      ? { address, port, protocol, portName, nodeName, ready, serving, terminating, targetRef }
      : { address, port, protocol, portName, nodeName, zone, ready, serving, terminating, targetRef };
  }
  return { ...of, port, protocol, portName, ...(appProtocol !== undefined && { appProtocol }) };
}
