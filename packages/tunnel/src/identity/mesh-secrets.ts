import { hkdfSync } from 'node:crypto';
import { TunnelError } from '../errors.ts';

/** Everything that is derived from one mesh secret. Knowing one of them tells nothing of the others or of the secret. */
export interface MeshKeys {
  /** 32 bytes for the libp2p private network (pnet). */
  readonly pnetKey: Uint8Array;
  /** The same key in the text format that @libp2p/pnet reads. */
  readonly swarmKey: Uint8Array;
  /** 32 bytes; sessions prove with it that they know the secret. */
  readonly proofKey: Uint8Array;
  /** Hex; tells meshes apart on one LAN, and is public there. */
  readonly lanTag: string;
}

/** The secrets of a mesh during a rotation: all are accepted, the first is used where only one can be. */
export interface MeshSecrets {
  readonly current: MeshKeys;
  readonly accepted: readonly MeshKeys[];
}

/** A rotation needs two; a session's HELLO carries one proof per accepted secret. */
const MAX_SECRETS = 4;
/** Separates our use of the secret from any other that the operator may make of it. */
const SALT = Buffer.from('edgemesh/1 mesh secret');

/**
 * Derives all keys of the mesh (HKDF-SHA256, RFC 5869, one label each). Surrounding white space of a secret does not
 * count, because it usually comes from a file.
 * @throws TunnelError `config` for no secret, an empty one, or too many
 */
export function deriveMeshSecrets(secrets: readonly string[]): MeshSecrets {
  const trimmed = [...new Set(secrets.map((secret) => secret.trim()))];
  if (trimmed.length > MAX_SECRETS) throw new TunnelError('config', `at most ${MAX_SECRETS} mesh secrets are accepted`);
  if (trimmed.includes('')) throw new TunnelError('config', 'a mesh secret is empty');
  const accepted = trimmed.map(deriveKeys);
  const current = accepted[0];
  if (current === undefined) throw new TunnelError('config', 'no mesh secret is given');
  return { current, accepted };
}

function deriveKeys(secret: string): MeshKeys {
  const derive = (label: string, bytes: number) =>
    new Uint8Array(hkdfSync('sha256', secret, SALT, `edgemesh/1 ${label}`, bytes));
  const pnetKey = derive('pnet', 32);
  const hex = Buffer.from(pnetKey).toString('hex');
  return {
    pnetKey,
    swarmKey: new TextEncoder().encode(`/key/swarm/psk/1.0.0/\n/base16/\n${hex}`),
    proofKey: derive('session proof', 32),
    lanTag: Buffer.from(derive('lan tag', 8)).toString('hex'),
  };
}
