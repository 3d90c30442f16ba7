import { routeMatcher } from '@edgemesh/proxy-http';
import { describe, expect, it } from 'vitest';
import { compileGateway } from '../compile-gateway.ts';
import { catalogOf, serviceOf } from '../testing/catalog.ts';
import { makeCertificate, tlsSecret } from '../testing/certificates.ts';

const SERVICES = [
  serviceOf('default/a', 'http:80'),
  serviceOf('default/b', 'http:80'),
  serviceOf('default/c', 'web:8080'),
];
const ingressClass = (annotations: object = {}) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'IngressClass',
  metadata: { name: 'edgemesh', annotations },
  spec: { controller: 'edgemesh.kubeedge.io/ingress' },
});
const backend = (name: string, port: object = { number: 80 }) => ({ service: { name, port } });
const path = (value: string, name: string, pathType = 'Prefix') => ({ path: value, pathType, backend: backend(name) });
const ingress = (spec: object, name = 'i') => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'Ingress',
  metadata: { name, namespace: 'default' },
  spec: { ingressClassName: 'edgemesh', ...spec },
});
const rule = (host: string | undefined, ...paths: object[]) => ({ ...(host && { host }), http: { paths } });

function found(objects: readonly unknown[], host: string, target: string): string | undefined {
  const { ports } = compileGateway(catalogOf(SERVICES, objects));
  const port = ports.find((p) => p.port === 80);
  if (port?.kind !== 'http') return undefined;
  const request = {
    method: 'GET',
    scheme: 'http' as const,
    authority: host,
    host,
    port: 80,
    path: target,
    query: '',
    header: () => undefined,
  };
  const action = routeMatcher(port.table).match(request)?.route.action;
  return action?.kind === 'forward' ? (action.backends[0]?.cluster?.service ?? '503') : undefined;
}

describe('an Ingress', () => {
  const rules = [
    rule('x.test', path('/', 'a'), path('/api', 'b'), path('/api/exact', 'a', 'Exact')),
    rule(undefined, path('/any', 'b')),
  ];
  it.each([
    ['x.test', '/', 'default/a'],
    ['x.test', '/api', 'default/b'],
    ['x.test', '/api/', 'default/b'],
    ['x.test', '/apiary', 'default/a'],
    ['x.test', '/api/exact', 'default/a'],
    ['x.test', '/api/exact/', 'default/b'],
    ['y.test', '/any/thing', 'default/b'],
    ['y.test', '/other', undefined],
  ])('sends %s%s to %s', (host, target, expected) => {
    expect(found([ingressClass(), ingress({ rules })], host, target)).toBe(expected);
  });

  it('has a default backend, and backends by the name of their port', () => {
    const objects = [ingressClass(), ingress({ defaultBackend: backend('c', { name: 'web' }) })];
    expect(found(objects, 'any', '/x')).toBe('default/c');
    expect(found([ingressClass(), ingress({ defaultBackend: backend('gone') })], 'any', '/')).toBe('503');
  });

  it('is ours by its class, or without one by the default class', () => {
    const plain = { ...ingress({}), spec: { rules } };
    expect(found([ingressClass(), plain], 'x.test', '/')).toBeUndefined();
    const byDefault = ingressClass({ 'ingressclass.kubernetes.io/is-default-class': 'true' });
    expect(found([byDefault, plain], 'x.test', '/')).toBe('default/a');
    expect(found([byDefault, ingress({ ingressClassName: 'nginx', rules })], 'x.test', '/')).toBeUndefined();
  });

  it('shares hosts with other Ingresses, the longest path first', () => {
    const objects = [
      ingressClass(),
      ingress({ rules: [rule('x.test', path('/', 'a'))] }, 'one'),
      ingress({ rules: [rule('x.test', path('/b', 'b'))] }, 'two'),
    ];
    expect([found(objects, 'x.test', '/b/x'), found(objects, 'x.test', '/x')]).toEqual(['default/b', 'default/a']);
  });

  it('terminates TLS for its hosts', () => {
    const pair = makeCertificate(['x.test']);
    const spec = { rules, tls: [{ hosts: ['x.test'], secretName: 's' }] };
    const plan = compileGateway(catalogOf(SERVICES, [ingressClass(), ingress(spec), tlsSecret('default/s', pair)]));
    expect(plan.conditions).toEqual([]);
    expect(plan.ports[1]).toMatchObject({
      port: 443,
      kind: 'tls',
      chains: [{ hosts: ['x.test'], handler: { kind: 'http', table: { virtualHosts: [{ hosts: ['x.test'] }] } } }],
    });
  });
});
