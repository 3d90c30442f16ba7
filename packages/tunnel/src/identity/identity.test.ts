import { X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKeyPair } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
// The reference implementation of the certificate check, as an oracle.
import * as libp2pTls from '../../node_modules/@libp2p/tls/dist/src/utils.js';
import { TunnelError } from '../errors.ts';
import { createTlsIdentity, verifyCertificate } from './certificate.ts';
import { derElements, derEncode, derOid } from './der.ts';
import { deriveMeshSecrets } from './mesh-secrets.ts';
import { createNodeIdentity, loadNodeIdentity } from './node-key.ts';

const derOf = (pem: string) => new X509Certificate(pem).raw;

describe('certificate', () => {
  it('proves the node key, to our own check and to the reference implementation', async () => {
    const identity = await createNodeIdentity();
    const der = derOf(identity.tls.certPem);
    expect(verifyCertificate(der, identity.peerId)).toBe(identity.peerId);
    const reference = await libp2pTls.verifyPeerCertificate(der, peerIdFromString(identity.peerId));
    expect(reference.toString()).toBe(identity.peerId);
  });

  it('accepts what the reference implementation makes', async () => {
    const key = await generateKeyPair('Ed25519');
    const { cert } = await libp2pTls.generateCertificate(key);
    expect(verifyCertificate(derOf(cert))).toBe(peerIdFromPrivateKey(key).toString());
  });

  it('is valid on a node whose clock starts in 1970 and refused outside its validity', async () => {
    const identity = await createNodeIdentity();
    expect(verifyCertificate(derOf(identity.tls.certPem), undefined, 1000)).toBe(identity.peerId);
    const { cert } = await libp2pTls.generateCertificate(await generateKeyPair('Ed25519'));
    expect(() => verifyCertificate(derOf(cert), undefined, 1000)).toThrow(/clocks/);
  });

  it('is refused when it proves another key than the expected one', async () => {
    const [a, b] = await Promise.all([createNodeIdentity(), createNodeIdentity()]);
    expect(() => verifyCertificate(derOf(a.tls.certPem), b.peerId)).toThrow(/expected node key/);
  });

  it('is refused when its node key signed another TLS key', async () => {
    const [a, b] = await Promise.all([createNodeIdentity(), createNodeIdentity()]);
    // A certificate of b, re-signed by nobody, with the extension of a pasted in.
    const extensionOf = (pem: string) => {
      const der = derOf(pem);
      const at = der.indexOf(derOid('1.3.6.1.4.1.53594.1.1'));
      return { der, at };
    };
    const source = extensionOf(a.tls.certPem);
    const target = extensionOf(b.tls.certPem);
    const forged = Buffer.from(target.der);
    source.der.copy(forged, target.at, source.at, source.at + 125);
    expect(() => verifyCertificate(forged)).toThrow(TunnelError);
  });

  it('never answers or fails in another way for mutated bytes', async () => {
    const identity = await createTlsIdentity(await generateKeyPair('Ed25519'));
    const der = derOf(identity.certPem);
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const mutated = Buffer.from(der);
        mutated[at] = (mutated[at] as number) ^ flip;
        expect(() => verifyCertificate(mutated)).toThrow(TunnelError);
      }),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        expect(() => verifyCertificate(bytes)).toThrow(TunnelError);
      }),
    );
  });
});

describe('DER', () => {
  it('splits what it encoded, whatever the length', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }), (contents) => {
        const elements = derElements(Buffer.concat(contents.map((content) => derEncode(0x04, content))));
        expect(elements.map((element) => [...element.content])).toEqual(contents.map((content) => [...content]));
      }),
    );
  });
});

describe('node key', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'edgemesh-key-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is created once, readable by its owner only, and kept', async () => {
    const file = join(folder, 'sub', 'node.key');
    const first = await loadNodeIdentity(file);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await loadNodeIdentity(file)).peerId).toBe(first.peerId);
    expect(await readdir(join(folder, 'sub'))).toEqual(['node.key']);
  });

  it('is the same for processes that start at once', async () => {
    const file = join(folder, 'node.key');
    const identities = await Promise.all(Array.from({ length: 8 }, () => loadNodeIdentity(file)));
    expect(new Set(identities.map((identity) => identity.peerId)).size).toBe(1);
  });

  it('gets back its mode when a copy has lost it', async () => {
    const file = join(folder, 'node.key');
    await loadNodeIdentity(file);
    await chmod(file, 0o644);
    await loadNodeIdentity(file);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it('is never overwritten when it cannot be used', async () => {
    const file = join(folder, 'node.key');
    await writeFile(file, 'nonsense');
    await expect(loadNodeIdentity(file)).rejects.toMatchObject({ code: 'key' });
    expect(await readFile(file, 'utf8')).toBe('nonsense');
  });
});

describe('mesh secrets', () => {
  it('derive distinct keys, the same on every node', () => {
    const secrets = deriveMeshSecrets(['correct horse']);
    expect(secrets).toEqual(deriveMeshSecrets([' correct horse\n']));
    const { pnetKey, swarmKey, proofKey, lanTag } = secrets.current;
    expect([pnetKey.length, proofKey.length, lanTag.length]).toEqual([32, 32, 16]);
    expect(Buffer.from(pnetKey).equals(proofKey)).toBe(false);
    expect(new TextDecoder().decode(swarmKey)).toMatch(/^\/key\/swarm\/psk\/1\.0\.0\/\n\/base16\/\n[0-9a-f]{64}$/);
    expect(deriveMeshSecrets(['other']).current.lanTag).not.toBe(lanTag);
  });

  it('send with the first and accept all during a rotation', () => {
    const secrets = deriveMeshSecrets(['new', 'old']);
    expect(secrets.current).toEqual(deriveMeshSecrets(['new']).current);
    expect(secrets.accepted[1]).toEqual(deriveMeshSecrets(['old']).current);
  });

  it.each([[[]], [['']], [['a', ' ']], [['1', '2', '3', '4', '5']]])('refuse %j', (given) => {
    expect(() => deriveMeshSecrets(given)).toThrow(TunnelError);
  });
});
