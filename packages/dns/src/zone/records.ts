import { parseIp } from '@edgemesh/core';
import { TYPE } from '../wire/constants.ts';
import { encodeName, type Name } from '../wire/name.ts';
import type { WireRecord } from '../wire/writer.ts';

/** Timers of the zone's SOA; only `minimum` and the TTL matter to anybody, no secondary exists. */
const SOA_REFRESH = 7_200;
const SOA_RETRY = 1_800;
const SOA_EXPIRE = 86_400;

/** A or AAAA, whichever the address is; undefined when it is not an address (an FQDN endpoint). */
export function addressRecord(name: Name, ttl: number, address: string): WireRecord | undefined {
  const bytes = parseIp(address);
  if (bytes === undefined) return undefined;
  return { name, type: bytes.length === 4 ? TYPE.A : TYPE.AAAA, ttl, data: Buffer.from(bytes) };
}

/** A record whose data is one name: CNAME, PTR, NS. */
export function nameRecord(name: Name, type: number, ttl: number, target: Name): WireRecord {
  return { name, type, ttl, data: encodeName(target) };
}

/** SRV (RFC 2782). The weight shares 100 among the targets, as CoreDNS does. */
export function srvRecord(name: Name, ttl: number, weight: number, port: number, target: Name): WireRecord {
  const fixed = Buffer.allocUnsafe(6);
  fixed.writeUInt16BE(0, 0);
  fixed.writeUInt16BE(weight, 2);
  fixed.writeUInt16BE(port, 4);
  return { name, type: TYPE.SRV, ttl, data: Buffer.concat([fixed, encodeName(target)]) };
}

/** TXT with one string of at most 255 bytes. */
export function txtRecord(name: Name, ttl: number, text: string): WireRecord {
  const bytes = Buffer.from(text, 'latin1').subarray(0, 255);
  return { name, type: TYPE.TXT, ttl, data: Buffer.concat([Buffer.from([bytes.length]), bytes]) };
}

/** The answer to ANY (RFC 8482 4.2). */
export function anyRecord(name: Name, ttl: number): WireRecord {
  return { name, type: TYPE.HINFO, ttl, data: Buffer.from('\x07RFC8482\x00', 'latin1') };
}

/** SOA of a zone served here; its TTL and minimum are the negative TTL (RFC 2308 5). */
export function soaRecord(zone: Name, mname: Name, serial: number, ttl: number): WireRecord {
  const numbers = Buffer.allocUnsafe(20);
  for (const [i, value] of [serial >>> 0, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, ttl].entries()) {
    numbers.writeUInt32BE(value, i * 4);
  }
  const data = Buffer.concat([encodeName(mname), encodeName(['hostmaster', ...zone]), numbers]);
  return { name: zone, type: TYPE.SOA, ttl, data };
}
