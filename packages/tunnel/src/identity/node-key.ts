import { chmod, link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import type { PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { TunnelError } from '../errors.ts';
import { createTlsIdentity, type TlsIdentity } from './certificate.ts';

/** Who this node is: its libp2p key and the TLS certificate that the key vouches for. */
export interface NodeIdentity {
  /** libp2p peer id, base58. */
  readonly peerId: string;
  readonly privateKey: PrivateKey;
  readonly tls: TlsIdentity;
}

/** An identity that lives in memory only. */
export async function createNodeIdentity(): Promise<NodeIdentity> {
  return identityOf(await generateKeyPair('Ed25519'));
}

/**
 * Reads the node key (base64 of the libp2p protobuf) and makes its certificate; creates a random key when the file is
 * absent. Created with mode 0600 and atomically: two processes that start at once end with the same key.
 * @throws TunnelError `key` when the file exists but cannot be used; it is never overwritten, for peers have pinned it
 */
export async function loadNodeIdentity(file: string): Promise<NodeIdentity> {
  const stored = (await readKey(file)) ?? (await createKey(file));
  return identityOf(stored);
}

async function identityOf(privateKey: PrivateKey): Promise<NodeIdentity> {
  return {
    peerId: peerIdFromPrivateKey(privateKey).toString(),
    privateKey,
    tls: await createTlsIdentity(privateKey),
  };
}

async function readKey(file: string): Promise<PrivateKey | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
    // A key that others may read is no identity; backups and copies often lose the mode.
    await chmod(file, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new TunnelError('key', `cannot read the node key ${file}`, { cause: error });
  }
  try {
    const key = privateKeyFromProtobuf(Buffer.from(text.trim(), 'base64'));
    if (key.type === 'Ed25519') return key;
  } catch (error) {
    throw unusable(file, error);
  }
  throw unusable(file);
}

function unusable(file: string, cause?: unknown): TunnelError {
  return new TunnelError(
    'key',
    `${file} is not an Ed25519 node key; restore it from a backup, or delete it to get a new identity (peers must forget the old one)`,
    { cause },
  );
}

async function createKey(file: string): Promise<PrivateKey> {
  const key = await generateKeyPair('Ed25519');
  const temporary = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(temporary, `${Buffer.from(privateKeyToProtobuf(key)).toString('base64')}\n`, {
      mode: 0o600,
      flag: 'wx',
      flush: true,
    });
    try {
      // link, not rename: it fails when another process was first, whose key then counts.
      await link(temporary, file);
      return key;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      return (await readKey(file)) as PrivateKey;
    } finally {
      await unlink(temporary);
    }
  } catch (error) {
    if (error instanceof TunnelError) throw error;
    throw new TunnelError('key', `cannot create the node key ${file}`, { cause: error });
  }
}
