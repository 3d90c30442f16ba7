import { randomBytes } from 'node:crypto';
import type { AbortOptions, ConnectionProtector, MultiaddrConnection } from '@libp2p/interface';
import { AbstractMultiaddrConnection, byteStream, type SendResult } from '@libp2p/utils';
import { TunnelError } from '../../errors.ts';
import { type ChunkList, SocketConnection } from './socket-connection.ts';
import { createXSalsa20, type XSalsa20 } from './xsalsa20.ts';

const NONCE_BYTES = 24;
/** More than a peer says before it is answered; it may wait for its turn. */
const MAX_HEAD_BYTES = 4_096;
/** What every libp2p peer says first inside the private network: the varint length 19 and the protocol with its newline. */
const GREETING = new TextEncoder().encode('\x13/multistream/1.0.0\n');

/** Says what a failed greeting means; also the text of `RelayState.reason`. */
export const SECRET_MISMATCH =
  'the peer does not hold our mesh secret (its first bytes do not decrypt): compare the secret files of both nodes';

/** 32-byte keys of the private network: `current` is used to dial, any of `accepted` to answer. */
export interface PskKeys {
  readonly current: Uint8Array;
  readonly accepted: readonly Uint8Array[];
}

/**
 * libp2p's private network protocol (pnet v1: 24-byte nonces both ways, then XSalsa20), wire compatible. Beyond the stock
 * one it accepts several keys, for rotation, and it notices a wrong key at the first bytes instead of letting later
 * layers stumble over noise: it then answers with its own greeting, so that the other side notices too.
 */
export function pskProtector(keys: PskKeys): () => ConnectionProtector {
  return () => ({
    [Symbol.toStringTag]: '@edgemesh/psk',
    async protect(connection: MultiaddrConnection, options?: AbortOptions): Promise<MultiaddrConnection> {
      const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
      const bytes = byteStream(connection);
      const reading = bytes.read({ ...options, bytes: NONCE_BYTES });
      const [remoteNonce] = await Promise.all([reading, bytes.write(nonce, options ?? {})]);
      return new PskConnection(bytes.unwrap(), keys, nonce, remoteNonce.subarray());
    },
  });
}

class PskConnection extends AbstractMultiaddrConnection {
  readonly #raw: MultiaddrConnection;
  readonly #keys: PskKeys;
  readonly #localNonce: Uint8Array;
  readonly #remoteNonce: Uint8Array;
  #outbound: XSalsa20 | undefined;
  #inbound: XSalsa20 | undefined;
  /** Ciphertext received before the handshake may go on: until the greeting is complete, then until it is our turn. */
  #head: Uint8Array = new Uint8Array(0);
  #key: Uint8Array | undefined;

  constructor(raw: MultiaddrConnection, keys: PskKeys, localNonce: Uint8Array, remoteNonce: Uint8Array) {
    super({ remoteAddr: raw.remoteAddr, direction: raw.direction, log: raw.log.newScope('psk') });
    this.#raw = raw;
    this.#keys = keys;
    this.#localNonce = localNonce;
    this.#remoteNonce = remoteNonce;
    raw.addEventListener('message', (event) => this.#receive(flatten(event.data)));
    raw.addEventListener('drain', () => this.safeDispatchEvent('drain'));
    raw.addEventListener('close', (event) => {
      if (event.error === undefined) this.onTransportClosed();
      else if (event.local === true) this.abort(event.error);
      else this.onRemoteReset();
    });
  }

  #receive(data: Uint8Array): void {
    if (this.#inbound !== undefined) {
      this.onData(this.#inbound.update(data));
      return;
    }
    this.#head = Buffer.concat([this.#head, data]);
    if (this.#head.length > MAX_HEAD_BYTES) this.abort(new TunnelError('protocol', 'data before the handshake'));
    if (this.#head.length < GREETING.length || this.#key !== undefined) return;
    this.#key = this.#detectKey();
    if (this.#key === undefined) this.#refuse();
    else if (this.#raw instanceof SocketConnection) this.#raw.admit(() => this.#proceed());
    else this.#proceed();
  }

  #proceed(): void {
    const key = this.#key as Uint8Array;
    this.#inbound = createXSalsa20(this.#remoteNonce, key);
    this.#outbound ??= createXSalsa20(this.#localNonce, key);
    const head = this.#head;
    this.#head = new Uint8Array(0);
    this.onData(this.#inbound.update(head));
  }

  #detectKey(): Uint8Array | undefined {
    const sample = this.#head.subarray(0, GREETING.length);
    return this.#keys.accepted.find((key) => {
      const clear = createXSalsa20(this.#remoteNonce, key).update(sample);
      return clear.every((byte, i) => byte === GREETING[i]);
    });
  }

  #refuse(): void {
    const failure = new TunnelError('secret', SECRET_MISMATCH);
    if (this.#raw instanceof SocketConnection) this.#raw.failure = failure;
    if (this.#outbound === undefined) this.#raw.send(this.#sender().update(GREETING));
    // an orderly close lets the greeting reach the peer; our own side fails at once
    const raw = this.#raw;
    raw.close({ signal: AbortSignal.timeout(1_000) }).catch((error: Error) => raw.abort(error));
    this.abort(failure);
  }

  #sender(): XSalsa20 {
    this.#outbound ??= createXSalsa20(this.#localNonce, this.#keys.current);
    return this.#outbound;
  }

  override sendData(data: ChunkList): SendResult {
    const cipher = this.#sender();
    let canSendMore = true;
    for (const chunk of data) canSendMore = this.#raw.send(cipher.update(chunk));
    return { sentBytes: data.byteLength, canSendMore };
  }

  override async sendClose(options?: AbortOptions): Promise<void> {
    await this.#raw.close(options);
  }

  override sendReset(error: Error): void {
    if (this.#raw.status === 'open') this.#raw.abort(error);
  }

  override sendPause(): void {
    this.#raw.pause();
  }

  override sendResume(): void {
    this.#raw.resume();
  }
}

function flatten(data: Uint8Array | { subarray(): Uint8Array }): Uint8Array {
  return data instanceof Uint8Array ? data : data.subarray();
}
