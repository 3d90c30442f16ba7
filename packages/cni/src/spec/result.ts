import { parseCidr, parseIp } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import type { CniDns, CniInterface, CniIp, CniResult, CniRoute } from './types.ts';
import { atLeast, type CniVersion } from './versions.ts';

/** The result object in the form of one version: what a runtime of that age reads. */
export function resultToJson(result: CniResult, version: CniVersion): Record<string, unknown> {
  const modern = atLeast(version, '1.1.0');
  const interfaces = result.interfaces.map(({ mtu, socketPath, pciID, ...old }) =>
    modern ? { ...old, ...pick({ mtu, socketPath, pciID }) } : old,
  );
  const ips = result.ips.map((ip) =>
    atLeast(version, '1.0.0') ? ip : { version: ip.address.includes(':') ? '6' : '4', ...ip },
  );
  const routes = result.routes.map(({ dst, gw, ...rest }) => ({ dst, ...pick({ gw }), ...(modern ? pick(rest) : {}) }));
  return {
    cniVersion: version,
    ...(interfaces.length > 0 ? { interfaces } : {}),
    ...(ips.length > 0 ? { ips } : {}),
    ...(routes.length > 0 ? { routes } : {}),
    dns: result.dns,
  };
}

function pick<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
const count = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;

/** Reads a result of any supported version: prevResult, or what a delegate printed. */
export function parseResult(json: unknown, what: string): CniResult {
  if (!isObject(json)) throw malformed(what, 'it is no object');
  const list = (field: string): Json[] => {
    const value = json[field] ?? [];
    if (!Array.isArray(value) || !value.every(isObject)) throw malformed(what, `${field} is no list of objects`);
    return value;
  };
  const interfaces = list('interfaces').map((entry): CniInterface => {
    const name = text(entry.name);
    if (name === undefined) throw malformed(what, 'an interface has no name');
    const known = { mac: text(entry.mac), mtu: count(entry.mtu), sandbox: text(entry.sandbox) || undefined };
    return { name, ...pick({ ...known, socketPath: text(entry.socketPath), pciID: text(entry.pciID) }) };
  });
  const ips = list('ips').map((entry): CniIp => {
    const address = text(entry.address);
    if (address === undefined || !address.includes('/') || parseCidr(address) === undefined) {
      throw malformed(what, `${JSON.stringify(entry.address)} is no address with prefix`);
    }
    const gateway = text(entry.gateway) || undefined;
    if (gateway !== undefined && parseIp(gateway) === undefined) throw malformed(what, `gateway ${gateway}`);
    const index = count(entry.interface);
    if (index !== undefined && index >= interfaces.length) throw malformed(what, `there is no interface ${index}`);
    return { address, ...pick({ gateway, interface: index }) };
  });
  const routes = list('routes').map((entry): CniRoute => {
    const dst = text(entry.dst);
    if (dst === undefined || parseCidr(dst) === undefined)
      throw malformed(what, `route to ${JSON.stringify(entry.dst)}`);
    const numbers = { mtu: count(entry.mtu), advmss: count(entry.advmss), priority: count(entry.priority) };
    const more = { table: count(entry.table), scope: count(entry.scope) };
    return { dst, ...pick({ gw: text(entry.gw) || undefined, ...numbers, ...more }) };
  });
  return { interfaces, ips, routes, dns: parseDns(json.dns) };
}

/** Reads a dns object; what is not understood is left out. */
export function parseDns(json: unknown): CniDns {
  if (!isObject(json)) return {};
  const list = (value: unknown) =>
    Array.isArray(value) && value.length > 0 ? value.filter((entry) => typeof entry === 'string') : undefined;
  return pick({
    nameservers: list(json.nameservers),
    domain: text(json.domain) || undefined,
    search: list(json.search),
    options: list(json.options),
  });
}

function malformed(what: string, why: string): CniError {
  return new CniError('decode', `${what} is malformed: ${why}`);
}
