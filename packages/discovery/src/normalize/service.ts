import {
  formatCidr,
  type KubeObject,
  type LoadBalancerIngress,
  type Protocol,
  parseCidr,
  type Service,
  type ServicePort,
  type SessionAffinity,
  serviceId,
  type TrafficPolicy,
} from '@edgemesh/core';
import { DEFAULT_AFFINITY_TIMEOUT_SECONDS, MAX_AFFINITY_TIMEOUT_SECONDS, MAX_PORTS_PER_SERVICE } from '../options.ts';
import { addressOf, describe, dnsNameOf, type Fields, fieldsOf, listOf, portOf, stringMapOf, textOf } from './read.ts';
import { createReport, type Normalised, type Report } from './report.ts';
import { sharedText, sharedTextOf } from './shared-text.ts';

const TYPES = ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'] as const;

/**
 * Normalises core/v1 Service. Unusable as a whole: no namespace, an unknown type, an ExternalName without a target, a
 * source range that cannot be read (dropping it could open the Service to everybody). Single bad ports and addresses are
 * dropped and reported.
 */
export function normaliseService(object: KubeObject): Normalised<Service> {
  const { metadata } = object;
  const report = createReport('Service', metadata.namespace ?? '', metadata.name);
  const spec = fieldsOf(object.spec);
  if (!metadata.namespace) report.problem('metadata.namespace', 'is missing');
  const type = spec.type === undefined ? 'ClusterIP' : TYPES.find((known) => known === spec.type);
  if (type === undefined) report.problem('spec.type', `is unknown: ${describe(spec.type)}`);
  const externalName = type === 'ExternalName' ? dnsNameOf(spec.externalName) : undefined;
  if (type === 'ExternalName' && !externalName) {
    report.problem('spec.externalName', `is not a DNS name: ${describe(spec.externalName)}`);
  }
  const loadBalancerSourceRanges = readSourceRanges(spec, report);
  if (report.problems.length > 0 || type === undefined) return { problems: report.problems };
  const namespace = sharedText(metadata.namespace ?? '');
  const value: Service = {
    id: serviceId(namespace, metadata.name),
    namespace,
    name: metadata.name,
    uid: textOf(metadata.uid) ?? '',
    labels: stringMapOf(metadata.labels),
    annotations: stringMapOf(metadata.annotations),
    type,
    ...readClusterIPs(spec, type, report),
    ...(externalName !== undefined && { externalName }),
    externalIPs: readAddresses(spec.externalIPs, 'spec.externalIPs', report),
    loadBalancerIngress: readIngress(object, report),
    loadBalancerSourceRanges,
    ...(portOf(spec.healthCheckNodePort) !== undefined && { healthCheckNodePort: portOf(spec.healthCheckNodePort) }),
    ports: readPorts(spec, report),
    sessionAffinity: readAffinity(spec, report),
    internalTrafficPolicy: readPolicy(spec, 'internalTrafficPolicy', report),
    externalTrafficPolicy: readPolicy(spec, 'externalTrafficPolicy', report),
    publishNotReadyAddresses: spec.publishNotReadyAddresses === true,
    ...(textOf(spec.trafficDistribution) !== undefined && { trafficDistribution: textOf(spec.trafficDistribution) }),
    hasSelector: type !== 'ExternalName' && Object.keys(fieldsOf(spec.selector)).length > 0,
  };
  return { value, problems: report.problems };
}

function readClusterIPs(spec: Fields, type: Service['type'], report: Report): Pick<Service, 'clusterIPs' | 'headless'> {
  const listed = listOf(spec.clusterIPs);
  const fromList = listed.length > 0;
  const raw = fromList ? listed : spec.clusterIP === undefined || spec.clusterIP === null ? [] : [spec.clusterIP];
  if (type === 'ExternalName') return { clusterIPs: [], headless: false };
  if (raw[0] === 'None' || spec.clusterIP === 'None') return { clusterIPs: [], headless: true };
  const given = raw.filter((ip) => ip !== '');
  return { clusterIPs: readAddresses(given, fromList ? 'spec.clusterIPs' : 'spec.clusterIP', report), headless: false };
}

function readAddresses(value: unknown, field: string, report: Report): readonly string[] {
  const addresses = new Set<string>();
  for (const [i, entry] of listOf(value).entries()) {
    const address = addressOf(entry);
    if (address === undefined) report.problem(`${field}[${i}]`, `is not an address: ${describe(entry)}`);
    else addresses.add(address);
  }
  return [...addresses];
}

function readSourceRanges(spec: Fields, report: Report): readonly string[] {
  const ranges = new Set<string>();
  for (const [i, entry] of listOf(spec.loadBalancerSourceRanges).entries()) {
    const cidr = typeof entry === 'string' && entry.length <= 64 ? parseCidr(entry.trim()) : undefined;
    if (cidr === undefined) report.problem(`spec.loadBalancerSourceRanges[${i}]`, `is not a CIDR: ${describe(entry)}`);
    else ranges.add(formatCidr(cidr));
  }
  return [...ranges];
}

function readIngress(object: KubeObject, report: Report): readonly LoadBalancerIngress[] {
  const ingress: LoadBalancerIngress[] = [];
  for (const [i, entry] of listOf(fieldsOf(fieldsOf(object.status).loadBalancer).ingress).entries()) {
    const { ip: raw, ipMode } = fieldsOf(entry);
    // an ingress may have a hostname only: nothing to intercept then
    if (raw === undefined || raw === null || raw === '') continue;
    const ip = addressOf(raw);
    if (ip === undefined) report.problem(`status.loadBalancer.ingress[${i}].ip`, `is not an address: ${describe(raw)}`);
    else ingress.push({ ip, ipMode: ipMode === 'Proxy' ? 'Proxy' : 'VIP' });
  }
  return ingress;
}

function readPorts(spec: Fields, report: Report): readonly ServicePort[] {
  const ports: ServicePort[] = [];
  const seen = new Set<string>();
  const listed = listOf(spec.ports);
  if (listed.length > MAX_PORTS_PER_SERVICE) {
    report.problem('spec.ports', `has ${listed.length} entries, only ${MAX_PORTS_PER_SERVICE} are used`);
  }
  for (const [i, entry] of listed.slice(0, MAX_PORTS_PER_SERVICE).entries()) {
    const port = readPort(entry, `spec.ports[${i}]`, report);
    if (port === undefined) continue;
    const key = `${port.port}/${port.protocol}`;
    if (seen.has(key)) report.problem(`spec.ports[${i}]`, `repeats ${key}`);
    else ports.push(port);
    seen.add(key);
  }
  return ports;
}

function readPort(entry: unknown, field: string, report: Report): ServicePort | undefined {
  const fields = fieldsOf(entry);
  const port = portOf(fields.port);
  const protocol = protocolOf(fields.protocol);
  if (port === undefined) report.problem(`${field}.port`, `is not a port: ${describe(fields.port)}`);
  if (protocol === undefined) report.problem(`${field}.protocol`, `is unknown: ${describe(fields.protocol)}`);
  if (port === undefined || protocol === undefined) return undefined;
  const targetPort = portOf(fields.targetPort) ?? textOf(fields.targetPort);
  const nodePort = portOf(fields.nodePort);
  const appProtocol = sharedTextOf(fields.appProtocol);
  return {
    name: sharedTextOf(fields.name) ?? '',
    protocol,
    port,
    ...(targetPort !== undefined && { targetPort }),
    ...(nodePort !== undefined && { nodePort }),
    ...(appProtocol !== undefined && { appProtocol }),
  };
}

/** TCP when absent, as in Kubernetes; undefined when unknown. */
export function protocolOf(value: unknown): Protocol | undefined {
  if (value === undefined || value === null || value === '') return 'TCP';
  return value === 'TCP' || value === 'UDP' || value === 'SCTP' ? value : undefined;
}

function readAffinity(spec: Fields, report: Report): SessionAffinity {
  if (spec.sessionAffinity !== 'ClientIP') {
    const absent = spec.sessionAffinity === undefined || spec.sessionAffinity === null || spec.sessionAffinity === '';
    if (!absent && spec.sessionAffinity !== 'None') {
      report.problem('spec.sessionAffinity', `is unknown: ${describe(spec.sessionAffinity)}`);
    }
    return { type: 'None' };
  }
  const raw = fieldsOf(fieldsOf(spec.sessionAffinityConfig).clientIP).timeoutSeconds;
  if (raw === undefined || raw === null) return { type: 'ClientIP', timeoutSeconds: DEFAULT_AFFINITY_TIMEOUT_SECONDS };
  if (typeof raw === 'number' && Number.isInteger(raw) && raw > 0 && raw <= MAX_AFFINITY_TIMEOUT_SECONDS) {
    return { type: 'ClientIP', timeoutSeconds: raw };
  }
  report.problem('spec.sessionAffinityConfig.clientIP.timeoutSeconds', `is out of range: ${describe(raw)}`);
  return { type: 'ClientIP', timeoutSeconds: DEFAULT_AFFINITY_TIMEOUT_SECONDS };
}

function readPolicy(
  spec: Fields,
  field: 'internalTrafficPolicy' | 'externalTrafficPolicy',
  report: Report,
): TrafficPolicy {
  const value = spec[field];
  if (value === 'Local' || value === 'Cluster') return value;
  if (value !== undefined && value !== null && value !== '')
    report.problem(`spec.${field}`, `is unknown: ${describe(value)}`);
  return 'Cluster';
}
