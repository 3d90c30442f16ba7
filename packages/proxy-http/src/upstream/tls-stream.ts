import { createHash, X509Certificate } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import type { UpstreamTls } from '../route-model.ts';

const contexts = new WeakMap<UpstreamTls, SecureContext>();

/** Reads certificate, key and CA, once per configuration. @throws when one of them cannot be read */
export function upstreamContext(tls: UpstreamTls): SecureContext {
  let secureContext = contexts.get(tls);
  if (secureContext === undefined) {
    if (tls.ca !== undefined) assertCertificate(tls.ca);
    secureContext = createSecureContext({
      ...(tls.ca !== undefined && { ca: tls.ca }),
      ...(tls.cert !== undefined && { cert: tls.cert }),
      ...(tls.key !== undefined && { key: tls.key }),
      minVersion: 'TLSv1.2',
    });
    contexts.set(tls, secureContext);
  }
  return secureContext;
}

/** Starts TLS towards an endpoint over a duplex. @throws as {@link upstreamContext} */
export function connectTls(socket: Duplex, tls: UpstreamTls, alpn: 'h2' | 'http/1.1'): TLSSocket {
  const secureContext = upstreamContext(tls);
  return connect({
    socket,
    secureContext,
    ALPNProtocols: [alpn],
    rejectUnauthorized: tls.insecureSkipVerify !== true,
    // Without a name to compare only the chain is verified.
    ...(tls.serverName !== undefined ? { servername: tls.serverName } : { checkServerIdentity: () => undefined }),
  });
}

/** OpenSSL takes a CA text without any certificate silently and then trusts nobody. */
function assertCertificate(pem: string): void {
  void new X509Certificate(pem);
}

const identities = new WeakMap<UpstreamTls, string>();

/** Identity of a TLS configuration, for the key of a pool. */
export function tlsIdentity(tls: UpstreamTls | undefined): string {
  if (tls === undefined) return '';
  let identity = identities.get(tls);
  if (identity === undefined) {
    const text = JSON.stringify([tls.serverName, tls.ca, tls.cert, tls.key, tls.insecureSkipVerify]);
    identity = createHash('sha256').update(text).digest('base64');
    identities.set(tls, identity);
  }
  return identity;
}
