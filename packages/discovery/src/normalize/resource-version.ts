/**
 * Compares two resourceVersions: negative, zero or positive, or undefined when one is missing or not a decimal number.
 * Kubernetes defines them as comparable integers of any size within one resource (KEP-5504).
 */
export function compareResourceVersions(a: string | undefined, b: string | undefined): number | undefined {
  if (typeof a !== 'string' || typeof b !== 'string' || !/^\d{1,40}$/.test(a) || !/^\d{1,40}$/.test(b))
    return undefined;
  const left = a.replace(/^0+(?=\d)/, '');
  const right = b.replace(/^0+(?=\d)/, '');
  return left.length - right.length || (left < right ? -1 : left > right ? 1 : 0);
}
