import { getCiphers } from 'node:tls';
import type { Field } from '../read/field.ts';

const known = new Set(getCiphers().map((name) => name.toUpperCase()));

/** Cipher suites by OpenSSL's names, as Istio takes them. Unknown ones are reported; `none` where nothing is left. */
export function readCiphers(field: Field): readonly string[] | 'none' | undefined {
  const wanted = field.texts();
  if (wanted.length === 0) return undefined;
  const found = wanted.filter((name) => known.has(name.toUpperCase()));
  for (const name of wanted) if (!found.includes(name)) field.complain(`${name.slice(0, 60)} is not known here`);
  return found.length > 0 ? found : 'none';
}
