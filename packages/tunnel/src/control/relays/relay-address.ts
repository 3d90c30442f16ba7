import { canonicalIp } from '@edgemesh/core';
import { multiaddr } from '@multiformats/multiaddr';
import { TunnelError } from '../../errors.ts';
import type { SocketAddress } from '../../types.ts';

const HOST_NAME = /^(?=.{1,253}$)[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$/;

/**
 * Reads a configured relay or peer address: an IP address, a host name, either with `:port`, `[IPv6]:port`, or a
 * multiaddr (`/ip4/…/tcp/…`, `/dns4/…/tcp/…`, a trailing `/p2p/…` is ignored). Throws TunnelError `config`.
 */
export function parseRelayAddress(text: string, defaultPort: number): SocketAddress {
  const trimmed = text.trim();
  const address = trimmed.startsWith('/') ? parseMultiaddr(trimmed) : parseHostPort(trimmed, defaultPort);
  if (address === undefined) throw new TunnelError('config', `not an address of a relay or peer: "${text}"`);
  return address;
}

/** The same for an address that this node advertises: an IP address it must be, as records carry no names. */
export function parseAdvertised(text: string, defaultPort: number): SocketAddress {
  const address = parseRelayAddress(text, defaultPort);
  if (canonicalIp(address.host) === undefined) {
    throw new TunnelError('config', `an advertised address must be an IP address, not the name "${address.host}"`);
  }
  return address;
}

function parseHostPort(text: string, defaultPort: number): SocketAddress | undefined {
  const plain = canonicalIp(text);
  if (plain !== undefined) return { host: plain, port: defaultPort };
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const host = readHost(match[1] ?? match[2] ?? '');
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}

function readHost(text: string): string | undefined {
  const ip = canonicalIp(text);
  if (ip !== undefined) return ip;
  // digits and dots only is a mistyped address, never a name
  return HOST_NAME.test(text) && !/^[0-9.]+$/.test(text) ? text : undefined;
}

function parseMultiaddr(text: string): SocketAddress | undefined {
  let parts: { name: string; value?: string }[];
  try {
    parts = multiaddr(text).getComponents();
  } catch {
    return undefined; // the caller's error names the text
  }
  const [host, tcp, ...rest] = parts;
  if (host?.value === undefined || tcp?.name !== 'tcp' || tcp.value === undefined) return undefined;
  if (!['ip4', 'ip6', 'dns', 'dns4', 'dns6'].includes(host.name)) return undefined;
  if (rest.some((part) => part.name !== 'p2p')) return undefined;
  const name = readHost(host.value);
  return name === undefined ? undefined : { host: name, port: Number(tcp.value) };
}
