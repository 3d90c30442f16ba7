import { TunnelError, type TunnelErrorCode } from '../errors.ts';

/**
 * RPC messages, each behind libp2p's varint length.
 *
 * ```
 * request   | 1 (version) | method length | method, ASCII | body |
 * response  | 0 (ok)      | body |
 *           | 1 (failed)  | code length   | code, ASCII   | message, UTF-8 |
 * ```
 */
const VERSION = 1;
const OK = 0;
const FAILED = 1;
const METHOD = /^[a-z][a-z0-9.-]{0,62}$/;
const MAX_MESSAGE_CHARS = 500;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export interface RpcRequest {
  readonly method: string;
  readonly body: Uint8Array;
}

export function encodeRequest(request: RpcRequest): Uint8Array {
  if (!METHOD.test(request.method)) throw new TunnelError('config', `bad RPC method name: ${request.method}`);
  return Buffer.concat([Uint8Array.of(VERSION, request.method.length), encoder.encode(request.method), request.body]);
}

/** Throws TunnelError `version` or `protocol`. */
export function decodeRequest(bytes: Uint8Array): RpcRequest {
  if (bytes[0] !== VERSION) throw new TunnelError('version', `RPC version ${String(bytes[0])} is not supported`);
  const end = 2 + (bytes[1] ?? 0);
  const method = decoder.decode(bytes.subarray(2, end));
  if (bytes.length < end || !METHOD.test(method))
    throw new TunnelError('protocol', 'RPC request without a valid method');
  return { method, body: bytes.subarray(end) };
}

export function encodeSuccess(body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(OK), body]);
}

export function encodeFailure(code: TunnelErrorCode, message: string): Uint8Array {
  const text = encoder.encode(message.slice(0, MAX_MESSAGE_CHARS));
  return Buffer.concat([Uint8Array.of(FAILED, code.length), encoder.encode(code), text]);
}

const CODES: ReadonlySet<string> = new Set<TunnelErrorCode>([
  'config',
  'key',
  'listen',
  'secret',
  'identity',
  'protocol',
  'version',
  'timeout',
  'unreachable',
  'refused',
  'limit',
  'closed',
]);

/** The body of a response; throws the TunnelError that the far side reported, or `protocol`. */
export function decodeResponse(bytes: Uint8Array): Uint8Array {
  if (bytes[0] === OK) return bytes.subarray(1);
  if (bytes[0] !== FAILED || bytes.length < 2) throw new TunnelError('protocol', 'malformed RPC response');
  const end = 2 + (bytes[1] as number);
  const code = decoder.decode(bytes.subarray(2, end));
  const message = decoder.decode(bytes.subarray(end)).slice(0, MAX_MESSAGE_CHARS);
  throw new TunnelError(CODES.has(code) ? (code as TunnelErrorCode) : 'refused', message);
}
