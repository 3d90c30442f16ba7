import type { Service } from '@edgemesh/core';
import { ipVersion } from '@edgemesh/core';
import { TYPE } from '../wire/constants.ts';
import { type Name, parseName } from '../wire/name.ts';
import type { WireRecord } from '../wire/writer.ts';
import { dashed, isHeadless, type NamedEndpoint, namedEndpoints } from './endpoints.ts';
import { addressRecord, srvRecord } from './records.ts';
import { EMPTY, type NameData, type ZoneContext } from './types.ts';

/** SRV weights of one answer add up to about this, as in CoreDNS. */
const TOTAL_WEIGHT = 100;

/**
 * The records at `<below>.<service>.<ns>.svc.<zone>`: the Service itself (nothing below), an endpoint's hostname, or
 * `_port._proto`.
 */
export function serviceNames(
  context: ZoneContext,
  service: Service,
  below: Name,
  name: Name,
  domain: Name,
  qtype: number,
): NameData | undefined {
  if (service.type === 'ExternalName') return below.length === 0 ? alias(service) : undefined;
  const base: Name = [service.name, service.namespace, 'svc', ...domain];
  const scope: Scope = { context, service, name, base, wantsSrv: qtype === TYPE.SRV };
  if (below.length === 0) return isHeadless(service) ? headlessService(scope) : clusterService(scope);
  if (below.length === 2) return portName(scope, below[0] as string, below[1] as string);
  const label = below[0] as string;
  if (label.startsWith('_')) return protocolName(scope, label);
  const named = endpointsOf(scope).filter((n) => n.hostname === label || dashed(n.endpoint.address) === label);
  return named.length === 0 ? undefined : endpointData(scope, named);
}

interface Scope {
  readonly context: ZoneContext;
  readonly service: Service;
  readonly name: Name;
  /** `<service>.<ns>.svc.<zone>`. */
  readonly base: Name;
  /** SRV sets are long: they are made only when asked for. */
  readonly wantsSrv: boolean;
}

/** ExternalName (specification 2.5). A name that is an address is no name: Kubernetes documents that it does not resolve. */
function alias(service: Service): NameData {
  const target = service.externalName === undefined ? undefined : parseName(service.externalName);
  if (target === undefined || target.length === 0 || ipVersion(target.join('.')) !== 0) return EMPTY;
  return { records: [], chase: target };
}

function endpointsOf(scope: Scope): NamedEndpoint[] {
  return namedEndpoints(scope.context.catalog, scope.service, scope.context.addressOf);
}

/** Specification 2.3.1; SRV at the Service's own name is CoreDNS' extension. */
function clusterService(scope: Scope): NameData {
  const { context, service, name } = scope;
  const addresses = clusterAddresses(scope, name);
  if (!scope.wantsSrv) return { records: addresses };
  const weight = weightOf(service.ports.length);
  const srv = service.ports.map((port) => srvRecord(name, context.ttl, weight, port.port, scope.base));
  return { records: srv, additionals: addresses };
}

function clusterAddresses(scope: Scope, name: Name): WireRecord[] {
  return scope.service.clusterIPs.flatMap((ip) => addressRecord(name, scope.context.ttl, ip) ?? []);
}

/** Specification 2.4.1: without a ready endpoint the name does not exist. */
function headlessService(scope: Scope): NameData | undefined {
  const named = endpointsOf(scope);
  return named.length === 0 ? undefined : endpointData(scope, named);
}

/** Specification 2.3.2 and 2.4.2. */
function portName(scope: Scope, portLabel: string, protocolLabel: string): NameData | undefined {
  const { context, service, name } = scope;
  if (!portLabel.startsWith('_') || !protocolLabel.startsWith('_') || portLabel === '_') return undefined;
  const port = portLabel.slice(1);
  const protocol = protocolLabel.slice(1).toUpperCase();
  if (isHeadless(service)) {
    const named = endpointsOf(scope).filter(
      ({ endpoint }) => endpoint.portName.toLowerCase() === port && endpoint.protocol === protocol,
    );
    if (named.length === 0) return undefined;
    return scope.wantsSrv ? endpointData(scope, named) : EMPTY;
  }
  const matching = service.ports.filter((p) => p.name.toLowerCase() === port && p.protocol === protocol);
  if (matching.length === 0) return undefined;
  const weight = weightOf(matching.length);
  const srv = matching.map((p) => srvRecord(name, context.ttl, weight, p.port, scope.base));
  return { records: srv, additionals: clusterAddresses(scope, scope.base) };
}

/** `_tcp.<service>...` exists, empty, when a named port uses the protocol (RFC 8020). */
function protocolName(scope: Scope, label: string): NameData | undefined {
  const protocol = label.slice(1).toUpperCase();
  const ports = isHeadless(scope.service)
    ? endpointsOf(scope).map(({ endpoint }) => ({ name: endpoint.portName, protocol: endpoint.protocol }))
    : scope.service.ports;
  return ports.some((port) => port.name !== '' && port.protocol === protocol) ? EMPTY : undefined;
}

/** Address and SRV records of endpoints; an endpoint of several ports has one address. */
function endpointData(scope: Scope, named: readonly NamedEndpoint[]): NameData {
  const { context, name, base } = scope;
  if (!scope.wantsSrv) {
    const addresses = new Set(named.map((n) => n.address));
    return { records: [...addresses].flatMap((address) => addressRecord(name, context.ttl, address) ?? []) };
  }
  const weight = weightOf(named.length);
  const records = new Map<string, WireRecord>();
  const glue = new Map<string, WireRecord>();
  for (const { endpoint, hostname, address } of named) {
    const target: Name = [hostname, ...base];
    const record = addressRecord(target, context.ttl, address);
    if (record === undefined || endpoint.port === 0) continue;
    records.set(`${hostname}|${endpoint.port}`, srvRecord(name, context.ttl, weight, endpoint.port, target));
    glue.set(`${hostname}|${address}`, record);
  }
  return { records: [...records.values()], additionals: [...glue.values()] };
}

function weightOf(count: number): number {
  return Math.max(1, Math.floor(TOTAL_WEIGHT / Math.max(1, count)));
}
