import { beforeAll, describe, expect, it } from 'vitest';
import { compileGateway } from '../compile-gateway.ts';
import type { TlsChain } from '../model.ts';
import { catalogOf } from '../testing/catalog.ts';
import { makeCertificate, type Pair, tlsSecret } from '../testing/certificates.ts';
import { istioGateway } from '../testing/istio.ts';

let pair: Pair;
let ca: Pair;
beforeAll(() => {
  pair = makeCertificate(['a.test']);
  ca = makeCertificate(['ca.test']);
});

function compile(
  tls: unknown,
  ...secrets: unknown[]
): { chain: TlsChain | undefined; conditions: string[]; secrets: string[] } {
  const server = { port: { number: 443, name: 'https', protocol: 'HTTPS' }, hosts: ['a.test'], tls };
  const plan = compileGateway(catalogOf([], [istioGateway('default/gw', [server]), ...secrets]));
  const [port] = plan.ports;
  return {
    chain: port?.kind === 'tls' ? port.chains[0] : undefined,
    conditions: plan.conditions.map(({ path, message }) => `${path}: ${message}`),
    secrets: plan.follows.map(({ namespace, name }) => `${namespace}/${name}`),
  };
}

const generic = (name: string, data: Readonly<Record<string, string>>) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { namespace: 'default', name },
  stringData: data,
});

describe('a credential', () => {
  it('is a kubernetes.io/tls Secret or a generic one', () => {
    for (const secret of [tlsSecret('default/s', pair), generic('s', pair as unknown as Record<string, string>)]) {
      const { chain, conditions } = compile({ mode: 'SIMPLE', credentialName: 's' }, secret);
      expect(conditions).toEqual([]);
      expect(chain).toMatchObject({
        hosts: ['a.test'],
        handler: { kind: 'http', tls: { certificates: [pair], minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' } },
      });
    }
  });

  it('is followed also while it is not there', () => {
    const { chain, conditions, secrets } = compile({ mode: 'SIMPLE', credentialName: 's' });
    expect(secrets).toEqual(['default/s', 'default/s-cacert']);
    expect(chain?.handler).toEqual({ kind: 'refused', reason: 'Secret default/s is not there' });
    expect(conditions).toEqual([
      'spec.servers[0].tls.credentialName: Secret default/s is not there: TLS of this server is refused',
    ]);
  });

  it.each<[string, (p: Pair, c: Pair) => Record<string, string>]>([
    ['ca.crt', (p, c) => ({ 'tls.crt': p.cert, 'tls.key': p.key, 'ca.crt': c.cert })],
    ['cacert', (p, c) => ({ cert: p.cert, key: p.key, cacert: c.cert })],
  ])('brings the CA of MUTUAL as %s', (_, data) => {
    expect(compile({ mode: 'MUTUAL', credentialName: 's' }, generic('s', data(pair, ca))).chain?.handler).toMatchObject(
      { kind: 'http', tls: { clientCa: ca.cert } },
    );
  });

  it('or in a Secret of its own', () => {
    const { chain } = compile(
      { mode: 'MUTUAL', credentialName: 's' },
      tlsSecret('default/s', pair),
      generic('s-cacert', { cacert: ca.cert }),
    );
    expect(chain?.handler).toMatchObject({ kind: 'http', tls: { clientCa: ca.cert } });
  });

  it('with a key of somebody else, or rubbish, is refused and says so', () => {
    const wrong = compile({ mode: 'SIMPLE', credentialName: 's' }, tlsSecret('default/s', { ...pair, key: ca.key }));
    expect(wrong.chain?.handler).toEqual({
      kind: 'refused',
      reason: 'Secret default/s: the key does not belong to the certificate',
    });
    const rubbish = compile({ mode: 'SIMPLE', credentialName: 's' }, tlsSecret('default/s', { cert: 'x', key: 'y' }));
    expect(rubbish.chain?.handler).toMatchObject({
      kind: 'refused',
      reason: expect.stringContaining('cannot be read'),
    });
  });
});

describe('settings', () => {
  const good = () => tlsSecret('default/s', pair);
  it.each<[object, object]>([
    [{ minProtocolVersion: 'TLSV1_3' }, { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' }],
    [
      { minProtocolVersion: 'TLS_AUTO', maxProtocolVersion: 'TLSV1_2' },
      { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' },
    ],
    [{ minProtocolVersion: 'TLSV1_0' }, { minVersion: 'TLSv1', maxVersion: 'TLSv1.3' }],
    [{ maxProtocolVersion: 'TLSV1_1' }, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' }],
    [{ cipherSuites: ['ECDHE-ECDSA-AES128-GCM-SHA256'] }, { ciphers: ['ECDHE-ECDSA-AES128-GCM-SHA256'] }],
  ])('%j', (more, expected) => {
    const { chain, conditions } = compile({ mode: 'SIMPLE', credentialName: 's', ...more }, good());
    expect([conditions, chain?.handler]).toMatchObject([[], { kind: 'http', tls: expected }]);
  });

  it.each<[unknown, string]>([
    [undefined, 'spec.servers[0].tls: protocol HTTPS needs tls settings'],
    [{ mode: 'MUTUAL', credentialName: 's' }, 'mode MUTUAL needs a CA'],
    [{ mode: 'ISTIO_MUTUAL' }, 'mode ISTIO_MUTUAL is not supported'],
    [{ mode: 'NEVER', credentialName: 's' }, 'mode NEVER is not supported'],
    [{ mode: 'SIMPLE', serverCertificate: '/etc/x' }, 'serverCertificate: is not supported'],
    [{ mode: 'MUTUAL', credentialName: 's', subjectAltNames: ['spiffe://x'] }, 'subjectAltNames: is not supported'],
    [
      { mode: 'SIMPLE', credentialName: 's', minProtocolVersion: 'TLSV1_3', maxProtocolVersion: 'TLSV1_2' },
      'maxProtocolVersion: is below minProtocolVersion',
    ],
    [{ mode: 'SIMPLE', credentialName: 's', cipherSuites: ['NULL-MD5-X'] }, 'none of the cipher suites is known here'],
  ])('%j refuses the server and says so', (tls, expected) => {
    const { chain, conditions } = compile(tls, good());
    expect(chain?.handler.kind).toBe('refused');
    expect(conditions.join('\n')).toContain(expected);
  });

  it('of the older Gateway hold where two have one host', () => {
    const server = (name: string) => ({
      port: { number: 443, name, protocol: 'HTTPS' },
      hosts: ['a.test'],
      tls: { mode: 'SIMPLE', credentialName: name },
    });
    const secrets = [tlsSecret('default/one', pair), tlsSecret('default/two', ca)];
    const plan = compileGateway(
      catalogOf(
        [],
        [istioGateway('default/old', [server('one')]), istioGateway('default/young', [server('two')]), ...secrets],
      ),
    );
    expect(plan.ports).toMatchObject([{ chains: [{ handler: { tls: { certificates: [pair] } } }] }]);
    expect(plan.conditions).toMatchObject([
      { object: 'Gateway default/young', message: expect.stringContaining('a.test has other TLS settings') },
    ]);
  });
});
