import { networkInterfaces } from 'node:os';
import { canonicalIp } from '@edgemesh/core';
import type { ListenAddress } from '../options.ts';

const WILDCARDS: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

/** True for an address that means every address of the machine. */
export function isWildcard(address: string): boolean {
  return WILDCARDS.has(canonicalIp(address) ?? address);
}

/** True when a datagram to the target would arrive at one of the listeners. */
export function reachesListener(target: ListenAddress, listeners: readonly ListenAddress[]): boolean {
  const address = canonicalIp(target.address) ?? target.address;
  return listeners.some((listener) => {
    if (listener.port !== target.port) return false;
    const own = canonicalIp(listener.address) ?? listener.address;
    if (own === address) return true;
    return isWildcard(own) && own.includes(':') === address.includes(':') && isLocal(address);
  });
}

function isLocal(address: string): boolean {
  // All of 127/8 is this machine, whatever the interfaces list says.
  if (address.startsWith('127.') || isWildcard(address)) return true;
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return interfaces.some((own) => (canonicalIp(own.address) ?? own.address) === address);
}
