import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A certificate with its key, PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** A certificate for names, signed by itself or by a CA. Made by openssl: Node cannot issue certificates. */
export function makeCertificate(names: readonly string[], ca?: Pair): Pair {
  const folder = mkdtempSync(join(tmpdir(), 'edgemesh-cert-'));
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', at('key')];
    const subject = [
      '-subj',
      `/CN=${names[0]}`,
      '-addext',
      `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}`,
    ];
    if (ca === undefined) openssl('req', '-x509', ...curve, ...subject, '-days', '2', '-out', at('cert'));
    else {
      execFileSync('sh', ['-c', 'cat > "$0"', at('ca.crt')], { input: ca.cert });
      execFileSync('sh', ['-c', 'cat > "$0"', at('ca.key')], { input: ca.key });
      openssl(
        'req',
        '-x509',
        ...curve,
        ...subject,
        '-days',
        '2',
        '-CA',
        at('ca.crt'),
        '-CAkey',
        at('ca.key'),
        '-out',
        at('cert'),
      );
    }
    return { cert: readFileSync(at('cert'), 'utf8'), key: readFileSync(at('key'), 'utf8') };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A Secret of this pair, as manifests write it. */
export function tlsSecret(key: string, pair: Pair, more: Readonly<Record<string, string>> = {}) {
  const [namespace, name] = key.split('/') as [string, string];
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace, name },
    type: 'kubernetes.io/tls',
    data: Object.fromEntries(
      Object.entries({ 'tls.crt': pair.cert, 'tls.key': pair.key, ...more }).map(([k, v]) => [
        k,
        Buffer.from(v).toString('base64'),
      ]),
    ),
  };
}
