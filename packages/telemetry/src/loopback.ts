import type { IncomingHttpHeaders } from 'node:http';

/** True for addresses that only this machine reaches. */
export function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.') || address.startsWith('::ffff:127.');
}

/**
 * Why a request to a loopback endpoint comes from a web page rather than from this machine's user; undefined when it does not.
 * A page can make a browser ask 127.0.0.1 under a name of its own (DNS rebinding), or send requests it cannot read.
 */
export function foreignRequest(headers: IncomingHttpHeaders): string | undefined {
  const name = hostName(headers.host ?? '');
  if (name !== 'localhost' && !isLoopback(name)) return 'the Host header has to be localhost or a loopback address';
  const site = headers['sec-fetch-site'];
  if (headers.origin !== undefined || (site !== undefined && site !== 'none' && site !== 'same-origin'))
    return 'not for web pages';
  return undefined;
}

/** The host of a Host header without port and brackets. `127.evil.example` is a name, not an address. */
function hostName(host: string): string {
  const name = /^(?:\[([^\]]+)\]|([^:]*))(?::\d+)?$/.exec(host.toLowerCase());
  const bare = name?.[1] ?? name?.[2] ?? '';
  return /^127\./.test(bare) && !/^127(\.\d{1,3}){3}$/.test(bare) ? '' : bare;
}
