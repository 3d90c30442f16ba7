import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { messageOf } from '@edgemesh/core';
import type { HttpProxy } from '../create-http-proxy.ts';
import type { ClientHello } from '../listen/client-hello.ts';
import { type ReadyTlsHost, type TlsConfig, tlsServerOptions, tlsSnapshot } from './tls-config.ts';

export interface TlsHandshakesOptions {
  readonly proxy: HttpProxy;
  readonly tls: () => TlsConfig;
  readonly http2: boolean;
  readonly onSecure: (socket: TLSSocket, host: ReadyTlsHost) => void;
}

/** TLS alert: fatal, unrecognized_name (RFC 6066 3). */
const UNRECOGNIZED_NAME = Buffer.from([21, 3, 3, 0, 2, 2, 112]);
const PLAIN_HTTP =
  'HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\r\nthis port speaks TLS: use https\n';

/**
 * Handshakes by host. Each host has a TLS server of its own, chosen by the ClientHello before OpenSSL sees it, because
 * versions, ciphers and the question for a client certificate cannot be changed once a handshake has begun. None of them
 * listens; sockets are handed to them.
 */
export class TlsHandshakes {
  private readonly options: TlsHandshakesOptions;
  private readonly servers = new Map<string, Server>();

  constructor(options: TlsHandshakesOptions) {
    this.options = options;
  }

  /** @param first the bytes so far, which have been put back into the socket */
  start(socket: Socket, hello: ClientHello | undefined, first: Buffer): void {
    if (socket.destroyed) return;
    const snapshot = tlsSnapshot(this.options.tls());
    const ready = hello && snapshot.find(hello.serverName);
    if (ready === undefined) {
      this.options.proxy.countRefused('tls-handshake');
      const looksLikeHttp = /^[A-Z]{3,10} /.test(first.toString('latin1', 0, 12));
      if (hello !== undefined) socket.end(UNRECOGNIZED_NAME);
      else if (looksLikeHttp) socket.end(PLAIN_HTTP);
      else socket.destroy();
      // What is unread would turn the close into a RST.
      socket.resume();
      socket.setTimeout(this.options.proxy.limits.lingerMs, () => socket.destroy());
      return;
    }
    let server = this.servers.get(ready.identity);
    if (server === undefined) {
      this.forgetOthers(snapshot.identities);
      server = this.createServer(ready);
      this.servers.set(ready.identity, server);
    }
    server.emit('connection', socket);
  }

  /** A server for each configured host at most; running handshakes keep theirs. */
  private forgetOthers(identities: ReadonlySet<string>): void {
    for (const identity of this.servers.keys()) if (!identities.has(identity)) this.servers.delete(identity);
  }

  private createServer(ready: ReadyTlsHost): Server {
    const { proxy, http2, onSecure } = this.options;
    const server = createServer({
      ...tlsServerOptions(ready.host),
      allowHalfOpen: true,
      noDelay: true,
      ALPNProtocols: http2 ? ['h2', 'http/1.1'] : ['http/1.1'],
      handshakeTimeout: proxy.limits.handshakeTimeoutMs,
    });
    server.on('secureConnection', (socket) => {
      const sent = ready.host.clientCertificate === 'optional' && Object.keys(socket.getPeerCertificate()).length > 0;
      // Optional does not mean that a wrong one is as good as none.
      if (sent && !socket.authorized) {
        proxy.countRefused('tls-client-certificate');
        socket.destroy();
      } else onSecure(socket, ready);
    });
    server.on('tlsClientError', (error, socket) => {
      proxy.countRefused('tls-handshake');
      proxy.log.debug('a TLS handshake failed', { error: messageOf(error), hosts: ready.host.hosts });
      socket.destroy();
    });
    return server;
  }
}
