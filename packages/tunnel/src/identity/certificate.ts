import { createPublicKey, generateKeyPairSync, randomBytes, sign, verify, X509Certificate } from 'node:crypto';
import { publicKeyFromProtobuf, publicKeyToProtobuf } from '@libp2p/crypto/keys';
import type { PrivateKey } from '@libp2p/interface';
import { peerIdFromPublicKey } from '@libp2p/peer-id';
import { TunnelError } from '../errors.ts';
import { DER, derElements, derEncode, derOid } from './der.ts';

/** libp2p public key extension, https://github.com/libp2p/specs/blob/master/tls/tls.md */
const LIBP2P_EXTENSION_OID = derOid('1.3.6.1.4.1.53594.1.1');
const SIGNATURE_PREFIX = Buffer.from('libp2p-tls-handshake:');
const ECDSA_WITH_SHA256 = derEncode(DER.sequence, derOid('1.2.840.10045.4.3.2'));
/** SubjectPublicKeyInfo header of a raw Ed25519 key (RFC 8410). */
const ED25519_SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
/** Ours are about 500 bytes; a limit before any parsing. */
const MAX_CERTIFICATE_BYTES = 4096;

/** What node:tls needs to prove a node key. */
export interface TlsIdentity {
  readonly certPem: string;
  readonly keyPem: string;
}

/**
 * Makes a self-signed P-256 certificate that carries and is signed by the node key, as the libp2p TLS specification asks.
 * Made once per process: the node key vouches for it, so it need not be kept. It is valid at any time, because edge nodes
 * without a real-time clock start in 1970, and nothing relies on its expiry.
 */
export async function createTlsIdentity(privateKey: PrivateKey): Promise<TlsIdentity> {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = pair.publicKey.export({ type: 'spki', format: 'der' });
  const signature = await privateKey.sign(Buffer.concat([SIGNATURE_PREFIX, spki]));
  const signedKey = derEncode(
    DER.sequence,
    derEncode(DER.octetString, publicKeyToProtobuf(privateKey.publicKey)),
    derEncode(DER.octetString, signature),
  );
  const extension = derEncode(
    DER.sequence,
    LIBP2P_EXTENSION_OID,
    derEncode(DER.boolean, Buffer.of(0xff)),
    derEncode(DER.octetString, signedKey),
  );
  const name = derEncode(
    DER.sequence,
    derEncode(
      DER.set,
      derEncode(DER.sequence, derOid('2.5.4.3'), derEncode(DER.utf8String, Buffer.from('edgemesh node'))),
    ),
  );
  const validity = derEncode(
    DER.sequence,
    derEncode(DER.utcTime, Buffer.from('700101000000Z')),
    derEncode(DER.generalizedTime, Buffer.from('99991231235959Z')),
  );
  // A positive serial number whose first byte needs no padding.
  const serial = randomBytes(16);
  serial[0] = ((serial[0] as number) & 0x3f) | 0x40;
  const body = derEncode(
    DER.sequence,
    derEncode(DER.context0, derEncode(DER.integer, Buffer.of(2))),
    derEncode(DER.integer, serial),
    ECDSA_WITH_SHA256,
    name,
    validity,
    name,
    spki,
    derEncode(DER.context3, derEncode(DER.sequence, extension)),
  );
  const certificate = derEncode(
    DER.sequence,
    body,
    ECDSA_WITH_SHA256,
    derEncode(DER.bitString, Buffer.of(0), sign('sha256', body, pair.privateKey)),
  );
  const base64 = certificate.toString('base64').replaceAll(/.{64}/g, '$&\n').trimEnd();
  return {
    certPem: `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`,
    keyPem: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

/**
 * Checks a peer's certificate (raw DER) and answers the peer id it proves. Synchronous, so that no byte of the peer can be
 * handled between the handshake and the verdict.
 * @throws TunnelError `identity` that says what is wrong
 */
export function verifyCertificate(der: Uint8Array, expectedPeerId?: string, now = Date.now()): string {
  let peerId: string;
  try {
    peerId = provenPeerId(der, now);
  } catch (error) {
    if (error instanceof TunnelError) throw error;
    throw new TunnelError('identity', "the peer's certificate cannot be parsed", { cause: error });
  }
  if (expectedPeerId !== undefined && peerId !== expectedPeerId)
    throw new TunnelError('identity', `expected node key ${expectedPeerId}, but the peer holds ${peerId}`);
  return peerId;
}

function provenPeerId(der: Uint8Array, now: number): string {
  if (der.length > MAX_CERTIFICATE_BYTES) throw bad('is too large');
  const certificate = new X509Certificate(der);
  if (certificate.validFromDate.getTime() > now || certificate.validToDate.getTime() < now)
    throw bad('is not valid at this time; check the clocks of both nodes');
  const publicKey = certificate.publicKey;
  if (certificate.subject !== certificate.issuer || !certificate.verify(publicKey)) throw bad('is not self-signed');
  const { keyBytes, signature } = libp2pExtension(der);
  const nodeKey = publicKeyFromProtobuf(keyBytes);
  if (nodeKey.type !== 'Ed25519') throw bad(`carries a node key of type ${nodeKey.type}, only Ed25519 is used`);
  const key = createPublicKey({
    key: Buffer.concat([ED25519_SPKI_PREFIX, nodeKey.raw]),
    format: 'der',
    type: 'spki',
  });
  const signed = Buffer.concat([SIGNATURE_PREFIX, publicKey.export({ type: 'spki', format: 'der' })]);
  if (!verify(null, signed, key, signature)) throw bad('is not signed by the node key that it names');
  return peerIdFromPublicKey(nodeKey).toString();
}

/** Finds the extension; any other critical one is refused, as RFC 5280 section 4.2 and the libp2p specification ask. */
function libp2pExtension(der: Uint8Array): { keyBytes: Buffer; signature: Buffer } {
  const [certificate] = derElements(der);
  const [body] = derElements(certificate?.content ?? Buffer.alloc(0));
  const holder = derElements(body?.content ?? Buffer.alloc(0)).find((element) => element.tag === DER.context3);
  const [list] = derElements(holder?.content ?? Buffer.alloc(0));
  let value: Buffer | undefined;
  for (const extension of derElements(list?.content ?? Buffer.alloc(0))) {
    const parts = derElements(extension.content);
    if (parts[0]?.raw.equals(LIBP2P_EXTENSION_OID)) value = parts.at(-1)?.content;
    else if (parts[1]?.tag === DER.boolean && parts[1].content[0] !== 0) throw bad('has an unknown critical extension');
  }
  if (value === undefined) throw bad('lacks the libp2p extension');
  const [sequence] = derElements(value);
  const [key, signature] = derElements(sequence?.content ?? Buffer.alloc(0));
  if (key?.tag !== DER.octetString || signature?.tag !== DER.octetString) throw bad('has a malformed libp2p extension');
  return { keyBytes: key.content, signature: signature.content };
}

function bad(what: string): TunnelError {
  return new TunnelError('identity', `the peer's certificate ${what}`);
}
