import type { Service } from '@edgemesh/core';
import { RCODE, TYPE } from '../wire/constants.ts';
import { isWithin, type Name } from '../wire/name.ts';
import type { WireRecord } from '../wire/writer.ts';
import { podAddress } from './pods.ts';
import { addressRecord, anyRecord, nameRecord, soaRecord, txtRecord } from './records.ts';
import { reverseAddress, reverseTargets } from './reverse.ts';
import { serviceNames } from './service-names.ts';
import { type Dependency, EMPTY, type NameData, REVERSE, type ZoneAnswer, type ZoneContext } from './types.ts';

/** Version of the specification that the zone follows; the content of `dns-version.<zone>`. */
export const SCHEMA_VERSION = '1.1.0';

/** The cluster domain that `name` belongs to, the most specific one. */
export function domainOf(name: Name, domains: readonly Name[]): Name | undefined {
  let best: Name | undefined;
  for (const domain of domains) {
    if (isWithin(name, domain) && (best === undefined || domain.length > best.length)) best = domain;
  }
  return best;
}

/**
 * Answers a question from the snapshot, or undefined when it is nobody's business here and belongs upstream. `name` is
 * lower-case. Pure: the same context gives the same answer.
 */
export function lookup(context: ZoneContext, name: Name, qtype: number): ZoneAnswer | undefined {
  const domain = domainOf(name, context.domains);
  if (domain !== undefined) return lookupForward(context, name, qtype, domain);
  const address = reverseAddress(name);
  return address === undefined ? undefined : lookupReverse(context, name, qtype, address);
}

function lookupForward(context: ZoneContext, name: Name, qtype: number, domain: Name): ZoneAnswer {
  const relative = name.slice(0, name.length - domain.length);
  const soa = soaRecord(domain, ['ns', 'dns', ...domain], context.serial, context.ttl);
  const { data, dependsOn } = dataAt(context, relative, qtype, name, domain, soa);
  return compose(data, { name, qtype, soa, ttl: context.ttl, dependsOn });
}

interface Composition {
  readonly name: Name;
  readonly qtype: number;
  readonly soa: WireRecord;
  readonly ttl: number;
  readonly dependsOn: readonly Dependency[];
}

/** Picks the records of the asked type; NODATA and NXDOMAIN carry the SOA (RFC 2308 3). */
function compose(data: NameData | undefined, question: Composition): ZoneAnswer {
  const { name, qtype, soa, dependsOn } = question;
  const negative = { answers: [], additionals: [], authorities: [soa], dependsOn };
  if (data === undefined) return { rcode: RCODE.NXDOMAIN, ...negative };
  const found = { rcode: RCODE.NOERROR, authorities: [], dependsOn };
  if (qtype === TYPE.ANY) return { ...found, answers: [anyRecord(name, question.ttl)], additionals: [] };
  if (data.chase !== undefined) {
    const alias = nameRecord(name, TYPE.CNAME, question.ttl, data.chase);
    const answer = { ...found, answers: [alias], additionals: [] };
    return qtype === TYPE.CNAME ? answer : { ...answer, chase: data.chase };
  }
  const answers = data.records.filter((record) => record.type === qtype);
  if (answers.length === 0) return { rcode: RCODE.NOERROR, ...negative };
  return { ...found, answers, additionals: data.additionals ?? [] };
}

interface Located {
  readonly data: NameData | undefined;
  readonly dependsOn: readonly Dependency[];
}

function dataAt(
  context: ZoneContext,
  relative: Name,
  qtype: number,
  name: Name,
  domain: Name,
  soa: WireRecord,
): Located {
  const last = relative.at(-1);
  if (last === undefined) return { data: apex(context, domain, soa), dependsOn: [] };
  if (last === 'svc') return serviceTree(context, relative, qtype, name, domain);
  if (last === 'pod') return podTree(context, relative, name);
  if (last === 'dns-version' && relative.length === 1) {
    return { data: { records: [txtRecord(name, context.ttl, SCHEMA_VERSION)] }, dependsOn: [] };
  }
  if (last === 'dns' && relative.length === 1) return { data: EMPTY, dependsOn: [] };
  if (last === 'dns' && relative.length === 2 && relative[0] === 'ns') {
    return { data: { records: nameServerAddresses(context, name) }, dependsOn: [] };
  }
  return { data: undefined, dependsOn: [] };
}

function apex(context: ZoneContext, domain: Name, soa: WireRecord): NameData {
  const server: Name = ['ns', 'dns', ...domain];
  return {
    records: [soa, nameRecord(domain, TYPE.NS, context.ttl, server)],
    additionals: nameServerAddresses(context, server),
  };
}

function nameServerAddresses(context: ZoneContext, name: Name): WireRecord[] {
  return context.nameServers.flatMap((address) => addressRecord(name, context.ttl, address) ?? []);
}

/** `svc`, `<ns>.svc` and everything below a Service. */
function serviceTree(context: ZoneContext, relative: Name, qtype: number, name: Name, domain: Name): Located {
  const depth = relative.length;
  if (depth === 1) return { data: EMPTY, dependsOn: [] };
  const namespace = relative[depth - 2] as string;
  if (depth === 2) {
    return { data: context.index.hasNamespace(namespace) ? EMPTY : undefined, dependsOn: [`${namespace}/`] };
  }
  const id = `${namespace}/${relative[depth - 3]}` as const;
  if (depth > 5) return { data: undefined, dependsOn: [] };
  const service: Service | undefined = context.catalog.services.get(id);
  const data = service && serviceNames(context, service, relative.slice(0, depth - 3), name, domain, qtype);
  return { data, dependsOn: [id] };
}

/** `pod`, `<ns>.pod` and `<a>-<b>-<c>-<d>.<ns>.pod` (specification 2.6). */
function podTree(context: ZoneContext, relative: Name, name: Name): Located {
  if (relative.length === 1) return { data: EMPTY, dependsOn: [] };
  const namespace = relative.at(-2) as string;
  const dependsOn = [`${namespace}/`, REVERSE];
  if (relative.length === 2) {
    return { data: context.index.hasNamespace(namespace) ? EMPTY : undefined, dependsOn };
  }
  const address = relative.length === 3 ? podAddress(context, relative[0] as string, namespace) : undefined;
  const record = address === undefined ? undefined : addressRecord(name, context.ttl, address);
  return { data: record && { records: [record] }, dependsOn };
}

/**
 * Reverse names (specification 2.3.3, 2.4.3): known addresses are answered, unknown ones inside the cluster's ranges do
 * not exist, all others are the business of upstreams.
 */
function lookupReverse(context: ZoneContext, name: Name, qtype: number, address: string): ZoneAnswer | undefined {
  const targets = reverseTargets(context, address);
  if (targets.length === 0 && !context.index.ownsReverse(address)) return undefined;
  const zone = name.slice(-2);
  const soa = soaRecord(zone, ['ns', 'dns', ...(context.domains[0] as Name)], context.serial, context.ttl);
  const records = targets.map((target) => nameRecord(name, TYPE.PTR, context.ttl, target));
  const data = records.length === 0 ? undefined : { records };
  return compose(data, { name, qtype, soa, ttl: context.ttl, dependsOn: [REVERSE] });
}
