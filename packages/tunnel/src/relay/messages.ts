import { TunnelError } from '../errors.ts';

/** RPC methods between agents and relays. Bodies are JSON; unknown fields are ignored. */
export const RELAY_CONNECT = 'relay.connect';
export const RELAY_INCOMING = 'relay.incoming';

/** Agent to relay: open a circuit to this peer. */
export interface ConnectRequest {
  readonly peerId: string;
}

/** Relay to the calling agent: present this ticket on a new data socket. */
export interface ConnectReply {
  /** Hex, 64 digits. */
  readonly ticket: string;
}

/** Relay to the called agent: somebody wants you; present this ticket on a new data socket. */
export interface IncomingNotice {
  readonly from: string;
  readonly ticket: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export function encodeMessage(message: ConnectRequest | ConnectReply | IncomingNotice): Uint8Array {
  return encoder.encode(JSON.stringify(message));
}

/** Reads the named string fields of a message; anything else is a protocol error that names the field. */
export function decodeFields<K extends string>(body: Uint8Array, ...names: readonly K[]): Record<K, string> {
  const message = parseObject(body);
  const fields = {} as Record<K, string>;
  for (const name of names) {
    const value = message[name];
    if (typeof value !== 'string' || value.length === 0 || value.length > 256) {
      throw new TunnelError('protocol', `relay message: field "${name}" must be a string of 1 to 256 characters`);
    }
    fields[name] = value;
  }
  return fields;
}

function parseObject(body: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(body));
  } catch (cause) {
    throw new TunnelError('protocol', 'relay message is not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TunnelError('protocol', 'relay message is not a JSON object');
  }
  return value as Record<string, unknown>;
}

/** Reads a ticket in hex. */
export function parseTicket(text: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(text))
    throw new TunnelError('protocol', 'relay message: field "ticket" is not 64 hex digits');
  return Buffer.from(text, 'hex');
}
