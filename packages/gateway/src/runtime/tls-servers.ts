import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { TlsChain, TlsTermination } from '../model.ts';

const ALPN = ['h2', 'http/1.1'];

/** How handshakes of a chain end. */
export interface TlsEndEvents {
  readonly secure: (socket: TLSSocket) => void;
  readonly failed: (error: Error) => void;
}

/**
 * The TLS ends of one listener: one per chain and settings, made when first used. A rotated certificate makes a new one; the old
 * one's connections keep what they have, its sessions cannot be resumed.
 */
export class TlsServers {
  private readonly servers = new Map<string, Server>();
  /** Spares the comparison of certificates for each connection. */
  private readonly ready = new WeakMap<TlsTermination, Server>();
  private readonly handshakeTimeoutMs: number;

  constructor(handshakeTimeoutMs: number) {
    this.handshakeTimeoutMs = handshakeTimeoutMs;
  }

  /**
   * The end of a chain that terminates TLS.
   * @param chains those of this moment; ends of others are forgotten
   * @throws Error when certificate, key or CA cannot be used
   */
  get(chain: TlsChain, tls: TlsTermination, chains: readonly TlsChain[], events: TlsEndEvents): Server {
    const ready = this.ready.get(tls);
    if (ready !== undefined) return ready;
    const id = idOf(chain.name, tls);
    let server = this.servers.get(id);
    if (server === undefined) {
      this.forgetOthers(chains);
      server = makeServer(tls, chain.handler.kind === 'http' ? ALPN : [], this.handshakeTimeoutMs, events);
      this.servers.set(id, server);
    }
    this.ready.set(tls, server);
    return server;
  }

  private forgetOthers(chains: readonly TlsChain[]): void {
    const wanted = new Set(chains.flatMap(({ name, handler }) => ('tls' in handler ? [idOf(name, handler.tls)] : [])));
    for (const id of this.servers.keys()) if (!wanted.has(id)) this.servers.delete(id);
  }
}

function idOf(chain: string, tls: TlsTermination): string {
  return `${chain}\n${JSON.stringify(tls)}`;
}

function makeServer(
  tls: TlsTermination,
  alpn: readonly string[],
  handshakeTimeout: number,
  events: TlsEndEvents,
): Server {
  const asks = tls.clientCa !== undefined;
  const server = createServer({
    allowHalfOpen: true,
    cert: tls.certificates.map(({ cert }) => cert),
    key: tls.certificates.map(({ key }) => key),
    minVersion: tls.minVersion,
    maxVersion: tls.maxVersion,
    handshakeTimeout,
    requestCert: asks,
    rejectUnauthorized: asks && tls.clientCertOptional !== true,
    ...(alpn.length > 0 && { ALPNProtocols: [...alpn] }),
    ...(tls.clientCa !== undefined && { ca: tls.clientCa }),
    ...(tls.ciphers && { ciphers: cipherList(tls) }),
  });
  server.on('secureConnection', (socket) => {
    const sent = asks && Object.keys(socket.getPeerCertificate()).length > 0;
    if (sent && !socket.authorized) {
      events.failed(new Error('the client certificate is not trusted'));
      socket.destroy();
    } else events.secure(socket);
  });
  server.on('tlsClientError', (error, socket) => {
    events.failed(error);
    socket.destroy();
  });
  return server;
}

/** Suites of TLS 1.3 have their own names; the list is for both, and old versions need OpenSSL's lower security level. */
function cipherList({ ciphers = [], minVersion }: TlsTermination): string {
  const list = ciphers.join(':');
  return minVersion < 'TLSv1.2' ? `${list}:@SECLEVEL=0` : list;
}
