import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect, createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { messageOf, readInto } from '@edgemesh/core';
import { TunnelError, type TunnelErrorCode } from '../errors.ts';
import { verifyCertificate } from '../identity/certificate.ts';
import type { MeshSecrets } from '../identity/mesh-secrets.ts';
import type { NodeIdentity } from '../identity/node-key.ts';
import type { Carrier, PathKind } from '../types.ts';
import { checkProofs, makeProofs, type Role } from './proof.ts';
import { TlsCarrier } from './tls-carrier.ts';
import {
  decodeGoaway,
  decodeHello,
  encodeFrame,
  encodeGoaway,
  encodeHello,
  FRAME,
  type GoawayCode,
  HEADER_BYTES,
  MAX_CONTROL_BYTES,
  VERSION_MAX,
  VERSION_MIN,
} from './wire.ts';

export interface SecureOptions {
  /** Who is the TLS client. In a simultaneous open both ends dialled: the caller decides, by peer id or by its signal. */
  readonly role: Role;
  readonly path: PathKind;
  readonly identity: NodeIdentity;
  readonly secrets: MeshSecrets;
  /** Own node name. */
  readonly nodeName: string;
  /** Refuse any other peer. */
  readonly expectedPeerId?: string | undefined;
  /**
   * What the peer calls itself, where known. A client that gives both this and `expectedPeerId` need not wait for the peer's
   * HELLO: the carrier is ready one round trip earlier, and is lost again when the HELLO does not fit.
   */
  readonly expectedNodeName?: string | undefined;
  /** `host:port` for status and messages. */
  readonly remoteAddress: string;
  /** Refuses a node name that belongs to another key. */
  readonly pins: (nodeName: string, peerId: string) => TunnelError | undefined;
  readonly signal: AbortSignal;
  /** Time for TLS and HELLO together, in milliseconds. */
  readonly timeoutMs: number;
}

const ALPN = 'edgemesh/1';
/** AES-128-GCM first: fastest wherever the processor has AES instructions. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384';
const MAX_PROOFS = 8;
/** All carriers read into this memory: a record of TLS has 16 KiB at most, and is dealt with before the next one. */
const RECEIVED = Buffer.allocUnsafeSlow(16_384);

/** One context per identity: parsing key and certificate for each connection would cost more than the handshake. */
const contexts = new WeakMap<NodeIdentity, SecureContext>();

function contextOf(identity: NodeIdentity): SecureContext {
  let context = contexts.get(identity);
  if (context === undefined) {
    const { certPem, keyPem } = identity.tls;
    context = createSecureContext({
      cert: certPem,
      key: keyPem,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      ciphers: CIPHERS,
      honorCipherOrder: true,
    });
    contexts.set(identity, context);
  }
  return context;
}

/**
 * Makes a carrier of a connected socket: TLS 1.3 with mutual libp2p certificates, then HELLO both ways with a proof of the
 * mesh secret. Nothing of the peer is handled before its certificate is verified. Destroys the socket on failure.
 * @throws TunnelError `identity`, `secret`, `version`, `protocol`, `timeout`, `unreachable`, `closed`
 */
export function secureCarrier(socket: Duplex, options: SecureOptions): Promise<Carrier> {
  return new Promise((resolve, reject) => new Handshake(socket, options, resolve, reject));
}

class Handshake {
  private readonly options: SecureOptions;
  private readonly tls: TLSSocket;
  private readonly resolve: (carrier: Carrier) => void;
  private readonly reject: (error: TunnelError) => void;
  private readonly timer: NodeJS.Timeout;
  private readonly onAbort = () => this.fail(new TunnelError('closed', 'the handshake was given up'));
  private carrier: TlsCarrier | undefined;
  private resolved = false;
  private head: Buffer = Buffer.alloc(0);
  /** The peer's HELLO was good; only then do its bytes reach anybody. */
  private greeted = false;
  private done = false;
  private socketError: Error | undefined;

  constructor(
    socket: Duplex,
    options: SecureOptions,
    resolve: (carrier: Carrier) => void,
    reject: (error: TunnelError) => void,
  ) {
    this.options = options;
    this.resolve = resolve;
    this.reject = reject;
    const secureContext = contextOf(options.identity);
    const shared = { secureContext, rejectUnauthorized: false, ALPNProtocols: [ALPN], requestCert: true };
    if (socket instanceof Socket) socket.setNoDelay(true);
    if (options.role === 'client') {
      this.tls = connect({ ...shared, socket });
      this.tls.once('secureConnect', () => this.onSecure());
    } else {
      this.tls = new TLSSocket(socket, { ...shared, isServer: true });
      this.tls.once('secure', () => this.onSecure());
    }
    this.timer = setTimeout(() => this.onTimeout(), options.timeoutMs);
    this.tls.on('error', (error) => {
      this.socketError = error;
    });
    this.tls.on('close', () => {
      socket.destroy();
      this.onClose();
    });
    // Where TLS wraps a plain duplex its errors do not always reach the TLS socket.
    socket.on('error', (error) => this.tls.destroy(error));
    socket.on('close', () => this.tls.destroy());
    if (socket.destroyed) this.tls.destroy();
    options.signal.addEventListener('abort', this.onAbort, { once: true });
    if (options.signal.aborted) this.onAbort();
  }

  private onSecure(): void {
    const { options, tls } = this;
    const { role, path, remoteAddress, expectedPeerId, expectedNodeName } = options;
    if (this.done) return;
    try {
      if (tls.alpnProtocol !== ALPN) throw new TunnelError('version', `${remoteAddress} does not speak ${ALPN}`);
      const certificate = tls.getPeerX509Certificate();
      if (certificate === undefined) throw new TunnelError('identity', `${remoteAddress} sent no certificate`);
      const peerId = verifyCertificate(certificate.raw, expectedPeerId);
      const nodeName = expectedNodeName ?? '';
      this.carrier = new TlsCarrier(tls, { peerId, nodeName, path, remoteAddress, initiator: role === 'client' });
      const hello = {
        versionMin: VERSION_MIN,
        versionMax: VERSION_MAX,
        nodeName: options.nodeName,
        proofs: makeProofs(tls, options.secrets, role),
      };
      tls.write(encodeFrame(FRAME.hello, 0, encodeHello(hello)));
    } catch (error) {
      this.refuse(asTunnelError(error));
      return;
    }
    this.startReading();
    if (role === 'client' && expectedPeerId !== undefined && expectedNodeName !== undefined) this.finish(this.carrier);
  }

  private startReading(): void {
    const { tls } = this;
    const early: Buffer | null = tls.read();
    if (early !== null) this.onData(early);
    if (readInto(tls, RECEIVED, (length) => this.onData(RECEIVED.subarray(0, length)))) tls.resume();
    else tls.on('data', (chunk: Buffer) => this.onData(chunk));
  }

  /** The chunk's memory is used again after the call. */
  private onData(chunk: Buffer): void {
    const { carrier } = this;
    if (carrier === undefined) return;
    if (this.greeted) {
      carrier.receive(chunk);
      return;
    }
    // Refused: nothing that the peer goes on sending is looked at.
    if (this.done) return;
    try {
      this.head = Buffer.concat([this.head, chunk]);
      const length = this.helloLength();
      if (length === undefined || this.head.length < length) return;
      this.checkHello(this.head.subarray(HEADER_BYTES, length), carrier);
      const rest = this.head.subarray(length);
      this.head = Buffer.alloc(0);
      this.greeted = true;
      this.settle();
      this.finish(carrier);
      if (rest.length > 0) carrier.receive(rest);
    } catch (error) {
      this.refuse(asTunnelError(error));
    }
  }

  /** Length of the HELLO frame that everything starts with; undefined when its header is not there yet. */
  private helloLength(): number | undefined {
    const { head } = this;
    const { remoteAddress } = this.options;
    if (head.length < HEADER_BYTES) return undefined;
    const length = HEADER_BYTES + head.readUIntBE(1, 3);
    if (head[0] !== FRAME.hello && head[0] !== FRAME.goaway)
      throw new TunnelError('protocol', `${remoteAddress} did not begin with HELLO`);
    if (length > MAX_CONTROL_BYTES) throw new TunnelError('protocol', `HELLO of ${length} bytes from ${remoteAddress}`);
    return length;
  }

  private checkHello(payload: Buffer, carrier: TlsCarrier): void {
    const { remoteAddress, role, secrets, pins } = this.options;
    if (this.head[0] === FRAME.goaway) {
      const { code, reason } = decodeGoaway(payload);
      throw new Refusal(tunnelCode(code), `${remoteAddress} refused this node: ${reason}`);
    }
    const hello = decodeHello(payload);
    const who = `${hello.nodeName} (${remoteAddress})`;
    if (hello.versionMin > VERSION_MAX || hello.versionMax < VERSION_MIN)
      throw new TunnelError(
        'version',
        `${who} speaks session protocol ${hello.versionMin} to ${hello.versionMax}, this node ${VERSION_MIN} to ${VERSION_MAX}; upgrade the older one`,
      );
    const peerRole = role === 'client' ? 'server' : 'client';
    if (hello.proofs.length > MAX_PROOFS || !checkProofs(this.tls, secrets, peerRole, hello.proofs))
      throw new TunnelError('secret', `${who} does not hold our mesh secret; compare the secrets of both nodes`);
    const refusal = pins(hello.nodeName, carrier.peerId);
    if (refusal !== undefined) throw refusal;
    const { expectedNodeName } = this.options;
    if (expectedNodeName !== undefined && hello.nodeName !== expectedNodeName)
      throw new TunnelError(
        'identity',
        `expected node ${expectedNodeName} at ${remoteAddress}, found ${hello.nodeName}`,
      );
    carrier.nodeName = hello.nodeName;
  }

  private finish(carrier: TlsCarrier): void {
    if (this.resolved) return;
    this.resolved = true;
    this.resolve(carrier);
  }

  /** Fails, and tells the peer why, as far as it will listen. */
  private refuse(error: TunnelError): void {
    if (this.done) return;
    if (!(error instanceof Refusal)) {
      // What our check says of the peer, put so that its operator understands.
      const reason = encodeGoaway(error.code, error.message);
      this.tls.write(encodeFrame(FRAME.goaway, 0, reason));
    }
    this.end(error);
    this.tls.destroySoon();
    // The peer closes when it has read the reason; without a reader our side would never see that.
    this.tls.resume();
    const timer = setTimeout(() => this.tls.destroy(), 1_000);
    timer.unref();
    this.tls.once('close', () => clearTimeout(timer));
  }

  private fail(error: TunnelError): void {
    if (this.done) return;
    this.end(error);
    this.tls.destroy();
  }

  private end(error: TunnelError): void {
    this.settle();
    this.carrier?.blame(error);
    if (!this.resolved) this.reject(error);
  }

  private settle(): void {
    this.done = true;
    clearTimeout(this.timer);
    this.options.signal.removeEventListener('abort', this.onAbort);
  }

  private onTimeout(): void {
    const { remoteAddress, timeoutMs } = this.options;
    this.fail(
      new TunnelError('timeout', `${remoteAddress} did not finish the handshake in ${timeoutMs} ms`, {
        retryable: true,
      }),
    );
  }

  private onClose(): void {
    const { remoteAddress } = this.options;
    const cause = this.socketError;
    const why = cause === undefined ? '' : `: ${messageOf(cause)}`;
    const message = `${remoteAddress} closed the connection during the handshake${why}`;
    this.fail(new TunnelError('unreachable', message, { retryable: true, cause }));
  }
}

/** The peer's own refusal: nothing to answer. */
class Refusal extends TunnelError {}

function asTunnelError(error: unknown): TunnelError {
  if (error instanceof TunnelError) return error;
  return new TunnelError('protocol', `handshake failed: ${messageOf(error)}`, { cause: error });
}

function tunnelCode(code: GoawayCode): TunnelErrorCode {
  return code === 'superseded' || code === 'not-needed' ? 'refused' : code;
}
