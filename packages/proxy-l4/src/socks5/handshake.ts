import { formatIp, type MeshErrorCode } from '@edgemesh/core';

/**
 * The server's side of the SOCKS5 opening (RFC 1928, RFC 1929) as a machine over bytes: no socket, no clock.
 *
 * ```
 *  client                                        server
 *  VER=5 NMETHODS METHODS...                ->
 *                                           <-   VER=5 METHOD
 *  VER=1 ULEN UNAME PLEN PASSWD             ->                      (method 2 only)
 *                                           <-   VER=1 STATUS
 *  VER=5 CMD RSV ATYP DST.ADDR DST.PORT     ->
 *                                           <-   VER=5 REP RSV ATYP BND.ADDR BND.PORT
 * ```
 */
export interface Socks5Request {
  /** A domain name as sent, lower case; or a canonical IP address. */
  readonly host: string;
  readonly isName: boolean;
  readonly port: number;
  /** Who asks, where the client has authenticated. */
  readonly username?: string;
}

/** RFC 1928 section 6. */
export const REPLY = {
  succeeded: 0,
  generalFailure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  refused: 5,
  ttlExpired: 6,
  commandNotSupported: 7,
  addressTypeNotSupported: 8,
} as const;

/** A value of {@link REPLY}. */
export type ReplyCode = (typeof REPLY)[keyof typeof REPLY];

/** What a step of the handshake asks for. */
export interface HandshakeStep {
  /** Bytes for the client. */
  readonly send?: Uint8Array;
  /** The client wants this; `rest` is what it has sent after its request. */
  readonly request?: Socks5Request;
  readonly rest?: Uint8Array;
  /** The handshake has failed: send what there is to send, then close. */
  readonly failed?: 'not-socks5' | 'no-method' | 'bad-credentials' | 'malformed' | 'command' | 'address-type';
}

/** Decides about a user name and password. */
export type CredentialCheck = (username: string, password: string) => boolean;

/** The machine: bytes in, steps out. */
export interface Socks5Handshake {
  /** Takes the next bytes, in pieces of any size. After a request or a failure it takes no more. */
  feed(bytes: Uint8Array): HandshakeStep;
}

const VERSION = 5;
const AUTH_VERSION = 1;
const METHOD_NONE = 0;
const METHOD_PASSWORD = 2;
const METHOD_REFUSED = 0xff;
const CONNECT = 1;
const ATYP_IPV4 = 1;
const ATYP_NAME = 3;
const ATYP_IPV6 = 4;

/** A reply without a meaningful bound address. */
export function encodeReply(code: ReplyCode): Uint8Array {
  return Uint8Array.of(VERSION, code, 0, ATYP_IPV4, 0, 0, 0, 0, 0, 0);
}

/** The reply that fits a failed dial. */
export function replyFor(code: MeshErrorCode): ReplyCode {
  switch (code) {
    case 'refused':
      return REPLY.refused;
    case 'forbidden':
      return REPLY.notAllowed;
    case 'timeout':
      return REPLY.ttlExpired;
    case 'unreachable':
    case 'unknown-node':
    case 'no-endpoints':
    case 'session-lost':
      return REPLY.hostUnreachable;
    default:
      return REPLY.generalFailure;
  }
}

/** Starts a handshake; `check` makes user name and password mandatory. */
export function createSocks5Handshake(check?: CredentialCheck): Socks5Handshake {
  let buffer: Uint8Array = new Uint8Array(0);
  let state: 'methods' | 'password' | 'request' | 'over' = 'methods';
  let username: string | undefined;

  const take = (count: number): Uint8Array => {
    const taken = buffer.subarray(0, count);
    buffer = buffer.subarray(count);
    return taken;
  };
  const fail = (failed: NonNullable<HandshakeStep['failed']>, send?: Uint8Array): HandshakeStep => {
    state = 'over';
    return { failed, ...(send && { send }) };
  };

  const readMethods = (): HandshakeStep | undefined => {
    if (buffer.length >= 1 && buffer[0] !== VERSION) return fail('not-socks5');
    if (buffer.length < 2 || buffer.length < 2 + (buffer[1] as number)) return undefined;
    const methods = take(2 + (buffer[1] as number)).subarray(2);
    const wanted = check === undefined ? METHOD_NONE : METHOD_PASSWORD;
    if (!methods.includes(wanted)) return fail('no-method', Uint8Array.of(VERSION, METHOD_REFUSED));
    state = check === undefined ? 'request' : 'password';
    return { send: Uint8Array.of(VERSION, wanted) };
  };

  const readPassword = (): HandshakeStep | undefined => {
    if (buffer.length >= 1 && buffer[0] !== AUTH_VERSION) return fail('malformed', Uint8Array.of(AUTH_VERSION, 1));
    const nameEnd = 2 + (buffer[1] ?? 0);
    if (buffer.length < 2 || buffer.length <= nameEnd) return undefined;
    const end = nameEnd + 1 + (buffer[nameEnd] as number);
    if (buffer.length < end) return undefined;
    const message = take(end);
    const name = text(message.subarray(2, nameEnd));
    if (!check?.(name, text(message.subarray(nameEnd + 1)))) {
      return fail('bad-credentials', Uint8Array.of(AUTH_VERSION, 1));
    }
    username = name;
    state = 'request';
    return { send: Uint8Array.of(AUTH_VERSION, 0) };
  };

  const readRequest = (): HandshakeStep | undefined => {
    if (buffer.length >= 1 && buffer[0] !== VERSION) return fail('malformed', encodeReply(REPLY.generalFailure));
    if (buffer.length < 5) return undefined;
    const type = buffer[3] as number;
    const length =
      type === ATYP_IPV4 ? 4 : type === ATYP_IPV6 ? 16 : type === ATYP_NAME ? 1 + (buffer[4] as number) : 0;
    if (length === 0) return fail('address-type', encodeReply(REPLY.addressTypeNotSupported));
    if (buffer.length < 4 + length + 2) return undefined;
    const message = take(4 + length + 2);
    if (message[1] !== CONNECT) return fail('command', encodeReply(REPLY.commandNotSupported));
    const isName = type === ATYP_NAME;
    const host = isName ? text(message.subarray(5, 4 + length)).toLowerCase() : formatIp(message.slice(4, 4 + length));
    const port = ((message[4 + length] as number) << 8) | (message[5 + length] as number);
    if (host === '' || port === 0) return fail('malformed', encodeReply(REPLY.generalFailure));
    state = 'over';
    return { request: { host, isName, port, ...(username !== undefined && { username }) }, rest: buffer };
  };

  const readers = { methods: readMethods, password: readPassword, request: readRequest, over: () => undefined };
  return {
    feed(bytes) {
      if (state === 'over') return {};
      buffer = buffer.length === 0 ? bytes : concat(buffer, bytes);
      // A client that does not wait may have sent several messages at once.
      let send: Uint8Array | undefined;
      for (let step = readers[state](); step !== undefined; step = readers[state]()) {
        if (step.send !== undefined) send = send === undefined ? step.send : concat(send, step.send);
        if (step.request !== undefined || step.failed !== undefined) return { ...step, ...(send && { send }) };
      }
      return send === undefined ? {} : { send };
    },
  };
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}
