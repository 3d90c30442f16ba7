import { readFile } from 'node:fs/promises';
import { messageOf } from '@edgemesh/core';
import { TunnelError } from './errors.ts';

/** Secrets in one file: the one in use and those that are being replaced; more would only be a mistake. */
const MAX_SECRETS = 4;

/**
 * Reads mesh secrets from a file, one a line: the first is used, the others are still accepted while a new one is rolled
 * out. @throws TunnelError `config`, saying how to make one
 */
export async function readSecretFile(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    const how = `Make one, and give the same file to every member:  openssl rand -base64 32 > ${path}`;
    throw new TunnelError('config', `the mesh secret cannot be read: ${messageOf(cause)}. ${how}`, { cause });
  });
  const secrets = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (secrets.length === 0) throw new TunnelError('config', `the mesh secret file ${path} is empty`);
  if (secrets.length > MAX_SECRETS) {
    throw new TunnelError(
      'config',
      `the mesh secret file ${path} holds ${secrets.length} lines: one secret a line, ${MAX_SECRETS} at most`,
    );
  }
  return secrets;
}

/** The rendezvous name that every mesh has unless it says otherwise, EdgeMesh's spelling included. */
export const DEFAULT_RENDEZVOUS = 'EDGEMESH_PLAYGOUND';

/**
 * As {@link readSecretFile}, for the configuration's `psk` section: switching the secret off is refused. Meshes with
 * different rendezvous names do not see each other even with one secret.
 */
export async function readMeshSecrets(
  psk: { readonly enable: boolean; readonly path: string },
  rendezvous: string = DEFAULT_RENDEZVOUS,
): Promise<string[]> {
  if (!psk.enable) {
    throw new TunnelError(
      'config',
      'psk.enable is false, but a mesh without a secret is open to everybody: set psk.path',
    );
  }
  const secrets = await readSecretFile(psk.path);
  return rendezvous === DEFAULT_RENDEZVOUS ? secrets : secrets.map((secret) => `${rendezvous}\n${secret}`);
}
