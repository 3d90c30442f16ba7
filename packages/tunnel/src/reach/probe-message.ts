import { TICKET_BYTES } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import { formatAddress } from '../paths/connect.ts';
import { parseObserved } from '../punch/observe.ts';
import type { SocketAddress } from '../types.ts';

/** Agent to relay: dial these addresses, which shall be mine, and present the ticket that goes with each. */
export const REACH_PROBE = 'reach.probe';

/** An address to try, and what to say there. */
export interface Probe {
  readonly address: SocketAddress;
  /** As in a data socket's preamble. */
  readonly ticket: Uint8Array;
}

/** JSON: `{"probes":[{"address":"1.2.3.4:5","ticket":"64 hex digits"}]}`. */
export function encodeProbes(probes: readonly Probe[]): Uint8Array {
  const plain = probes.map(({ address, ticket }) => ({
    address: formatAddress(address),
    ticket: Buffer.from(ticket).toString('hex'),
  }));
  return Buffer.from(JSON.stringify({ probes: plain }));
}

/** Throws TunnelError `protocol`. */
export function decodeProbes(body: Uint8Array): Probe[] {
  const { probes } = parseJson(body);
  if (!Array.isArray(probes)) throw malformed();
  return probes.map((probe: { address?: unknown; ticket?: unknown } | null) => {
    const address = typeof probe?.address === 'string' ? parseObserved(probe.address) : undefined;
    const ticket = typeof probe?.ticket === 'string' ? Buffer.from(probe.ticket, 'hex') : undefined;
    if (address === undefined || ticket?.length !== TICKET_BYTES) throw malformed();
    return { address, ticket };
  });
}

function parseJson(body: Uint8Array): { readonly probes?: unknown } {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new TunnelError('protocol', 'malformed probe: not JSON', { cause });
  }
  throw malformed();
}

function malformed(): TunnelError {
  return new TunnelError('protocol', 'malformed probe');
}
