import type { SocketAddress } from '../../types.ts';
import { type InterfaceAddress, isLoopbackHost } from '../own-addresses.ts';
import type { MdnsInterface } from './mdns.ts';

/**
 * The links on which multicast DNS makes sense, with the address to announce on each: IPv4 interfaces that the listener
 * covers. A node that listens on loopback only (several agents on one machine) speaks on the loopback interface.
 */
export function mdnsInterfaces(
  listen: readonly SocketAddress[],
  usable: readonly InterfaceAddress[],
): readonly MdnsInterface[] {
  const ipv4 = listen.filter(({ host }) => !host.includes(':'));
  const loopback = ipv4.find(({ host }) => isLoopbackHost(host));
  if (loopback !== undefined && ipv4.every(({ host }) => isLoopbackHost(host))) {
    return [{ name: 'lo', host: '127.0.0.1', cidr: '127.0.0.0/8', announce: loopback }];
  }
  return usable
    .filter(({ host }) => !host.includes(':'))
    .flatMap(({ interface: name, host, cidr }) => {
      const covering = ipv4.find((address) => address.host === '0.0.0.0' || address.host === host);
      return covering === undefined ? [] : [{ name, host, cidr, announce: { host, port: covering.port } }];
    });
}
