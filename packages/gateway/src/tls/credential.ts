import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { type KubeObject, messageOf } from '@edgemesh/core';
import { type CompileContext, follow } from '../common/context.ts';

/** Where a Secret is. */
export interface SecretName {
  readonly namespace: string;
  readonly name: string;
}

/** What a Secret holds. */
export interface Credential {
  readonly certificates: readonly { readonly cert: string; readonly key: string }[];
  readonly ca?: string;
  /** Why there is no certificate. */
  readonly problem?: string;
}

/**
 * Certificate, key and CA of a Secret: `tls.crt`/`tls.key`/`ca.crt` (kubernetes.io/tls) or `cert`/`key`/`cacert` (generic), the
 * CA also from a Secret `<name>-cacert` beside it. Keys are checked against certificates. Every Secret looked for is noted, so
 * that it can be followed.
 */
export function readCredential(ref: SecretName, context: CompileContext): Credential {
  const secret = lookUp(ref, context);
  const caSecret = ref.name.endsWith('-cacert') ? undefined : lookUp({ ...ref, name: `${ref.name}-cacert` }, context);
  const ca = firstOf(secret, ['ca.crt', 'cacert']) ?? firstOf(caSecret, ['cacert', 'ca.crt']);
  const name = `Secret ${ref.namespace}/${ref.name}`;
  if (secret === undefined) return { certificates: [], problem: `${name} is not there`, ...withCa(ca) };
  const cert = firstOf(secret, ['tls.crt', 'cert']);
  const key = firstOf(secret, ['tls.key', 'key']);
  if (cert === undefined || key === undefined) {
    const missing = cert === undefined ? 'no certificate (tls.crt or cert)' : 'no key (tls.key or key)';
    return { certificates: [], problem: `${name} has ${missing}`, ...withCa(ca) };
  }
  const problem = pairProblem(cert, key);
  if (problem !== undefined) return { certificates: [], problem: `${name}: ${problem}`, ...withCa(ca) };
  return { certificates: [{ cert, key }], ...withCa(ca) };
}

function withCa(ca: string | undefined): { readonly ca?: string } {
  return ca !== undefined && isCertificate(ca) ? { ca } : {};
}

function lookUp(ref: SecretName, context: CompileContext): KubeObject | undefined {
  follow({ kind: 'Secret', ...ref }, context);
  return context.catalog.objects.get('Secret')?.get(`${ref.namespace}/${ref.name}`);
}

/** The first of some keys, from `data` (base64) or `stringData` (manifests). */
function firstOf(secret: KubeObject | undefined, keys: readonly string[]): string | undefined {
  for (const key of keys) {
    for (const part of ['stringData', 'data'] as const) {
      const map = secret?.[part];
      if (typeof map !== 'object' || map === null || !Object.hasOwn(map, key)) continue;
      const value = (map as Record<string, unknown>)[key];
      if (typeof value !== 'string' || value === '') continue;
      return part === 'data' ? Buffer.from(value, 'base64').toString('utf8') : value;
    }
  }
  return undefined;
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).fingerprint256 !== '';
  } catch {
    return false; // that is the answer
  }
}

const checked = new Map<string, string | undefined>();
const MAX_CHECKED = 1_000;

/** Why a certificate and key cannot be used together. Remembered: parsing keys takes a millisecond. */
function pairProblem(cert: string, key: string): string | undefined {
  const id = createHash('sha256').update(`${cert}\n${key}`).digest('hex');
  if (checked.has(id)) return checked.get(id);
  if (checked.size >= MAX_CHECKED) checked.clear();
  const problem = findPairProblem(cert, key);
  checked.set(id, problem);
  return problem;
}

function findPairProblem(cert: string, key: string): string | undefined {
  try {
    const privateKey = createPrivateKey(key);
    return new X509Certificate(cert).checkPrivateKey(privateKey)
      ? undefined
      : 'the key does not belong to the certificate';
  } catch (error) {
    return `certificate or key cannot be read: ${messageOf(error)}`;
  }
}
