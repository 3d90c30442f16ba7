import { hkdfSync } from 'node:crypto';
import type { AgentConfig } from '@edgemesh/config';
import { readMeshSecrets } from '@edgemesh/tunnel';

/** UDP port at which nodes of one LAN ask each other who they are; the same on every node. */
export const LAN_PROBE_PORT = 20_006;
const SALT = Buffer.from('edgemesh/1 mesh secret');

/** Key of the LAN probe, 32 bytes (HKDF-SHA256, RFC 5869); its label is its own, so it tells nothing of the tunnel's keys. */
export function deriveLanProbeKey(secret: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret.trim(), SALT, 'edgemesh/1 lan probe', 32));
}

/**
 * The key from the mesh secret's file; undefined on a node that has neither tunnel nor a readable secret. While a secret is being
 * replaced, nodes that differ in their first one use the tunnel instead of the LAN.
 */
export async function readLanProbeKey(tunnel: AgentConfig['modules']['edgeTunnel']): Promise<Uint8Array | undefined> {
  const secrets = await readMeshSecrets(tunnel.psk, tunnel.rendezvous).catch((error: unknown) => {
    if (tunnel.enable) throw error;
    return [];
  });
  return secrets[0] === undefined ? undefined : deriveLanProbeKey(secrets[0]);
}
