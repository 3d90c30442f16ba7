import { createHmac, timingSafeEqual } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { MeshSecrets } from '../identity/mesh-secrets.ts';

/** RFC 8446 section 7.5; both ends of one TLS channel compute the same bytes, nobody in between can. */
const EXPORTER_LABEL = 'EXPORTER-edgemesh-mesh-proof';

export type Role = 'client' | 'server';

/**
 * One proof per accepted secret that this end (in its role) knows the mesh secret, bound to this TLS channel: it cannot be
 * replayed on another one, nor sent back. All accepted secrets are proved, so the order of a rotation does not matter.
 */
export function makeProofs(socket: TLSSocket, secrets: MeshSecrets, role: Role): Buffer[] {
  const channel = socket.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.from(role));
  return secrets.accepted.map((keys) => createHmac('sha256', keys.proofKey).update(channel).digest());
}

/** True when one of the peer's proofs fits one of the secrets that are accepted here. */
export function checkProofs(
  socket: TLSSocket,
  secrets: MeshSecrets,
  peerRole: Role,
  proofs: readonly Buffer[],
): boolean {
  const expected = makeProofs(socket, secrets, peerRole);
  return proofs.some((proof) => expected.some((own) => proof.length === own.length && timingSafeEqual(proof, own)));
}
