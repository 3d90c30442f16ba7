import { TunnelError } from '../errors.ts';

/** Methods of the control plane's own RPCs; bodies are JSON, records travel as base64 of their envelope. */
export const METHODS = {
  /** First message on every control connection, from the side that dialled: both records, and what the peer sees of us. */
  hello: 'control.hello',
  /** Changed records, unasked. */
  push: 'records.push',
  /** The record of one node; the caller is told about its changes from then on. */
  get: 'records.get',
  /** All records of a relay, page by page. */
  list: 'records.list',
} as const;

/** Both directions of `control.hello`. */
export interface Hello {
  readonly record: Uint8Array;
  readonly relay: boolean;
  /** `host:port` of the receiver as the sender's socket sees it; empty over a circuit. */
  readonly observed: string;
  /** Sequence of the receiver's record that the sender holds: a node that lost its state continues above it. */
  readonly sequence: number;
}

export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

export function encodeHello(hello: Hello): Uint8Array {
  return encodeJson({ ...hello, record: toBase64(hello.record) });
}

export function decodeHello(body: Uint8Array): Hello {
  const fields = decodeJson(body);
  return {
    record: fromBase64(fields.record),
    relay: fields.relay === true,
    observed: typeof fields.observed === 'string' ? fields.observed.slice(0, 64) : '',
    sequence: typeof fields.sequence === 'number' && Number.isSafeInteger(fields.sequence) ? fields.sequence : 0,
  };
}

/** Throws TunnelError `protocol` unless the body is a JSON object. */
export function decodeJson(body: Uint8Array): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (cause) {
    throw new TunnelError('protocol', 'control message is not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TunnelError('protocol', 'control message is not a JSON object');
  }
  return value as Record<string, unknown>;
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

export function fromBase64(value: unknown): Uint8Array {
  if (typeof value !== 'string') throw new TunnelError('protocol', 'control message: a record must be base64 text');
  return Buffer.from(value, 'base64');
}
