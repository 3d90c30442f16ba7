import { parseIp } from '@edgemesh/core';
import { LinuxError } from '../errors.ts';

/** Address families of Linux. */
export const AF_INET = 2;
export const AF_INET6 = 10;

/** An IP address and a TCP port. */
export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** The family of an IP address. Throws LinuxError `plan` where it is none. */
export function familyOf(host: string): typeof AF_INET | typeof AF_INET6 {
  return ipBytes(host).length === 4 ? AF_INET : AF_INET6;
}

/**
 * `struct sockaddr_in` or `sockaddr_in6`. Throws LinuxError `plan` where the host is no IP address.
 *
 * ```
 *  0       2       4               8                              24        28
 *  ┌───────┬───────┬───────────────┬──────────────────────────────┬─────────┐
 *  │family │ port  │ IPv4 address  │ zeros up to 16         (IPv4)│         │
 *  │family │ port  │ flow info     │ IPv6 address                 │ scope   │
 *  └───────┴───────┴───────────────┴──────────────────────────────┴─────────┘
 *   host     network byte order
 * ```
 */
export function encodeSocketAddress({ host, port }: HostAndPort): Uint8Array {
  const family = familyOf(host);
  const bytes = Buffer.alloc(family === AF_INET ? 16 : 28);
  bytes.set(new Uint8Array(Uint16Array.of(family).buffer), 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(ipBytes(host), family === AF_INET ? 4 : 8);
  return bytes;
}

function ipBytes(host: string): Uint8Array {
  const bytes = parseIp(host);
  if (bytes === undefined) throw new LinuxError('plan', `"${host}" is not an IP address`);
  return bytes;
}
