import { beforeAll, describe, expect, it } from 'vitest';
import { compileGateway } from '../compile-gateway.ts';
import { catalogOf, serviceOf } from '../testing/catalog.ts';
import { makeCertificate, type Pair, tlsSecret } from '../testing/certificates.ts';

/*
 * Statuses of the core profile, named after the tests of the conformance suite whose behaviour they hold. Matching is in
 * compile-gateway-api.test.ts, traffic in ../runtime/gateway-api.test.ts.
 */

const V1 = 'gateway.networking.k8s.io/v1';
const INFRA = 'infra';
const CONTROLLER = 'edgemesh.kubeedge.io/gateway';
const SERVICES = [serviceOf(`${INFRA}/v1`, 'http:8080'), serviceOf('backend/web', 'http:8080')];

let pair: Pair;
beforeAll(() => {
  pair = makeCertificate(['example.org']);
});

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly observedGeneration?: number;
}
interface Status {
  readonly conditions: readonly Condition[];
  readonly listeners: readonly {
    readonly name: string;
    readonly attachedRoutes: number;
    readonly conditions: readonly Condition[];
  }[];
  readonly parents: readonly { readonly conditions: readonly Condition[] }[];
}

const gatewayClass = (generation = 1) => ({
  apiVersion: V1,
  kind: 'GatewayClass',
  metadata: { name: 'edge', generation },
  spec: { controllerName: CONTROLLER },
});
const listener = (name: string, more: object = {}) => ({ name, port: 80, protocol: 'HTTP', ...more });
const httpsListener = (name: string, ref: object, more: object = {}) =>
  listener(name, { port: 443, protocol: 'HTTPS', tls: { certificateRefs: [ref] }, ...more });
const gateway = (listeners: readonly object[], generation = 1, more: object = {}) => ({
  apiVersion: V1,
  kind: 'Gateway',
  metadata: { name: 'gw', namespace: INFRA, generation },
  spec: { gatewayClassName: 'edge', listeners, ...more },
});
let age = 0;
const route = (
  name: string,
  spec: object = {},
  more: { kind?: string; version?: string; generation?: number } = {},
) => ({
  apiVersion: more.version ?? V1,
  kind: more.kind ?? 'HTTPRoute',
  metadata: {
    name,
    namespace: INFRA,
    generation: more.generation ?? 1,
    creationTimestamp: new Date(++age * 1000).toISOString(),
  },
  spec: { parentRefs: [{ name: 'gw' }], rules: [{ backendRefs: [{ name: 'v1', port: 8080 }] }], ...spec },
});
const grant = (kind: string, namespace: string, to: object, from = INFRA) => ({
  apiVersion: 'gateway.networking.k8s.io/v1beta1',
  kind: 'ReferenceGrant',
  metadata: { name: `grant-${kind}-${namespace}-${from}`, namespace },
  spec: { from: [{ group: 'gateway.networking.k8s.io', kind, namespace: from }], to: [{ group: '', ...to }] },
});
const compile = (...objects: readonly unknown[]) => {
  const { statuses, ports } = compileGateway(catalogOf(SERVICES, [gatewayClass(), ...objects]));
  const of = (kind: string, name?: string) =>
    statuses.find((status) => status.kind === kind && (name === undefined || status.name === name))
      ?.status as unknown as Status;
  return { of, ports };
};
const brief = (conditions: readonly Condition[] | undefined) =>
  Object.fromEntries((conditions ?? []).map(({ type, status, reason }) => [type, `${status} ${reason}`]));

describe('GatewayClassObservedGenerationBump, GatewayObservedGenerationBump, HTTPRouteObservedGenerationBump', () => {
  it('says of every condition which generation it is about', () => {
    const at = (generation: number) => {
      const statuses = compileGateway(
        catalogOf(SERVICES, [
          gatewayClass(generation),
          gateway([listener('http')], generation),
          route('r', {}, { generation }),
        ]),
      ).statuses;
      return statuses.flatMap(({ status }) =>
        [...JSON.stringify(status).matchAll(/"observedGeneration":(\d+)/g)].map(([, text]) => Number(text)),
      );
    };
    // one of the class, one of the Gateway, three of its listener, two of the route
    expect(at(1)).toEqual([1, 1, 1, 1, 1, 1, 1]);
    expect(at(7)).toEqual([7, 7, 7, 7, 7, 7, 7]);
  });
});

describe('GatewayWithAttachedRoutes', () => {
  it.each<[string, readonly object[], readonly object[], readonly number[]]>([
    ['one route', [listener('http')], [route('a')], [1]],
    ['two routes', [listener('http')], [route('a'), route('b')], [2]],
    [
      'a route by section name',
      [listener('http'), listener('other', { port: 81 })],
      [route('a', { parentRefs: [{ name: 'gw', sectionName: 'http' }] })],
      [1, 0],
    ],
    [
      'one route that names a listener twice',
      [listener('http')],
      [route('a', { parentRefs: [{ name: 'gw' }, { name: 'gw', sectionName: 'http' }] })],
      [1],
    ],
    [
      'a route to a listener whose certificate is missing',
      [httpsListener('https', { name: 'missing' })],
      [route('a')],
      [1],
    ],
    [
      'a route of no hostname in common',
      [listener('http', { hostname: 'a.example' })],
      [route('a', { hostnames: ['b.example'] })],
      [0],
    ],
  ])('counts %s', (_, listeners, routes, expected) => {
    const { of } = compile(gateway(listeners), ...routes);
    expect(of('Gateway').listeners.map(({ attachedRoutes }) => attachedRoutes)).toEqual(expected);
  });
});

describe('GatewayModifyListeners', () => {
  it('has the listeners that the Gateway has now', () => {
    const names = (...listeners: readonly object[]) => {
      const { of, ports } = compile(tlsSecret(`${INFRA}/cert`, pair), gateway(listeners), route('a'));
      return [
        of('Gateway').listeners.map(({ name, attachedRoutes }) => `${name} ${attachedRoutes}`),
        ports.map(({ id }) => id),
      ];
    };
    const https = httpsListener('https', { name: 'cert' });
    expect(names(https)).toEqual([['https 1'], ['TCP 443']]);
    expect(names(https, listener('http'))).toEqual([
      ['https 1', 'http 1'],
      ['TCP 443', 'TCP 80'],
    ]);
    expect(names(listener('http'))).toEqual([['http 1'], ['TCP 80']]);
  });
});

describe('GatewaySecretReferenceGrantAllInNamespace, GatewaySecretReferenceGrantSpecific, GatewaySecretMissingReferenceGrant, GatewaySecretInvalidReferenceGrant', () => {
  it.each<[string, readonly object[], string]>([
    ['no grant', [], 'False RefNotPermitted'],
    ['a grant for all Secrets', [grant('Gateway', 'backend', { kind: 'Secret' })], 'True ResolvedRefs'],
    ['a grant for this Secret', [grant('Gateway', 'backend', { kind: 'Secret', name: 'cert' })], 'True ResolvedRefs'],
    [
      'a grant for another Secret',
      [grant('Gateway', 'backend', { kind: 'Secret', name: 'other' })],
      'False RefNotPermitted',
    ],
    ['a grant for Services', [grant('Gateway', 'backend', { kind: 'Service' })], 'False RefNotPermitted'],
    ['a grant for routes', [grant('HTTPRoute', 'backend', { kind: 'Secret' })], 'False RefNotPermitted'],
    [
      'a grant for Gateways of another namespace',
      [grant('Gateway', 'backend', { kind: 'Secret' }, 'other')],
      'False RefNotPermitted',
    ],
    ['a grant in another namespace', [grant('Gateway', 'other', { kind: 'Secret' })], 'False RefNotPermitted'],
  ])('with %s', (_, grants, expected) => {
    const ref = { name: 'cert', namespace: 'backend' };
    const { of } = compile(tlsSecret('backend/cert', pair), gateway([httpsListener('https', ref)]), ...grants);
    expect(brief(of('Gateway').listeners[0]?.conditions).ResolvedRefs).toBe(expected);
  });
});

describe('HTTPRouteInvalidReferenceGrant, HTTPRoutePartiallyInvalidViaInvalidReferenceGrant', () => {
  const across = { backendRefs: [{ name: 'web', namespace: 'backend', port: 8080 }] };
  it.each<[string, readonly object[], string]>([
    [
      'a grant for another kind of route',
      [grant('GRPCRoute', 'backend', { kind: 'Service' })],
      'False RefNotPermitted',
    ],
    [
      'a grant for another namespace',
      [grant('HTTPRoute', 'backend', { kind: 'Service' }, 'other')],
      'False RefNotPermitted',
    ],
    ['a grant in another namespace', [grant('HTTPRoute', 'other', { kind: 'Service' })], 'False RefNotPermitted'],
    ['a grant for another kind', [grant('HTTPRoute', 'backend', { kind: 'Secret' })], 'False RefNotPermitted'],
    [
      'a grant for another Service',
      [grant('HTTPRoute', 'backend', { kind: 'Service', name: 'x' })],
      'False RefNotPermitted',
    ],
    ['a grant', [grant('HTTPRoute', 'backend', { kind: 'Service' })], 'True ResolvedRefs'],
  ])('is resolved by %s or not: %s', (_, grants, expected) => {
    const { of } = compile(gateway([listener('http')]), route('a', { rules: [across] }), ...grants);
    expect(brief(of('HTTPRoute').parents[0]?.conditions)).toEqual({
      Accepted: 'True Accepted',
      ResolvedRefs: expected,
    });
  });

  it('serves the rules whose references are good', () => {
    const good = {
      matches: [{ path: { type: 'PathPrefix', value: '/good' } }],
      backendRefs: [{ name: 'v1', port: 8080 }],
    };
    const { of, ports } = compile(gateway([listener('http')]), route('a', { rules: [across, good] }));
    expect(brief(of('HTTPRoute').parents[0]?.conditions)).toEqual({
      Accepted: 'True Accepted',
      ResolvedRefs: 'False RefNotPermitted',
    });
    const [port] = ports;
    const routes = port?.kind === 'http' ? port.table.virtualHosts.flatMap(({ routes: all }) => all) : [];
    const backends = routes.flatMap(({ action }) => (action.kind === 'forward' ? action.backends : []));
    expect(backends).toMatchObject([{ cluster: { service: 'infra/v1' } }, { invalidStatus: 500 }]);
  });
});

describe('HTTPRouteDisallowedKind', () => {
  it('is not accepted where only other kinds may attach', () => {
    const tls = {
      port: 8443,
      protocol: 'TLS',
      tls: { mode: 'Passthrough' },
      allowedRoutes: { kinds: [{ kind: 'TLSRoute' }] },
    };
    const { of } = compile(gateway([listener('tls', tls)]), route('a'));
    expect(brief(of('HTTPRoute').parents[0]?.conditions)).toEqual({
      Accepted: 'False NotAllowedByListeners',
      ResolvedRefs: 'True ResolvedRefs',
    });
    expect(of('Gateway').listeners[0]?.attachedRoutes).toBe(0);
  });
});

describe('HTTPRouteInvalidParentRefNotMatchingListenerPort, HTTPRouteInvalidParentRefSectionNameNotMatchingPort', () => {
  it.each([
    [{ port: 81 }, 'False NoMatchingParent'],
    [{ sectionName: 'http', port: 81 }, 'False NoMatchingParent'],
    [{ sectionName: 'http', port: 80 }, 'True Accepted'],
  ])('%j is %s', (ref, expected) => {
    const { of } = compile(
      gateway([listener('http'), listener('other', { port: 8080 })]),
      route('a', { parentRefs: [{ name: 'gw', ...ref }] }),
    );
    expect(brief(of('HTTPRoute').parents[0]?.conditions).Accepted).toBe(expected);
  });
});

describe('GatewayInvalidParametersRef', () => {
  it('is not accepted: there are no parameters to refer to', () => {
    const parametersRef = { group: 'x.example', kind: 'Parameters', name: 'p' };
    const { of, ports } = compile(gateway([listener('http')], 1, { infrastructure: { parametersRef } }));
    expect(brief(of('Gateway').conditions).Accepted).toBe('False InvalidParameters');
    expect(ports).toEqual([]);
    const labels = compile(gateway([listener('http')], 1, { infrastructure: { labels: { a: 'b' } } }));
    expect(brief(labels.of('Gateway').conditions).Accepted).toBe('True Accepted');
  });
});

describe('BackendTLSPolicyInvalidCACertificateRef, BackendTLSPolicyInvalidKind, BackendTLSPolicyConflictResolution, BackendTLSPolicyObservedGenerationBump', () => {
  const ca = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'ca', namespace: INFRA },
    data: { 'ca.crt': 'pem' },
  };
  const policy = (
    name: string,
    created: number,
    ref: object = { kind: 'ConfigMap', name: 'ca' },
    more: object = {},
  ) => ({
    apiVersion: V1,
    kind: 'BackendTLSPolicy',
    metadata: { name, namespace: INFRA, generation: 4, creationTimestamp: new Date(created * 1000).toISOString() },
    spec: {
      targetRefs: [{ group: '', kind: 'Service', name: 'v1' }],
      validation: { hostname: 'v1.example', caCertificateRefs: [{ group: '', ...ref }] },
    },
    ...more,
  });
  const ancestorsOf = (name: string, ...objects: readonly unknown[]) =>
    (
      compile(gateway([listener('http')]), route('a'), ca, ...objects).of('BackendTLSPolicy', name) as unknown as
        | { ancestors: readonly { ancestorRef: object; controllerName: string; conditions: readonly Condition[] }[] }
        | undefined
    )?.ancestors;

  it('names the Gateways whose routes lead to its target', () => {
    expect(ancestorsOf('p', policy('p', 1))).toEqual([
      {
        ancestorRef: { group: 'gateway.networking.k8s.io', kind: 'Gateway', namespace: INFRA, name: 'gw' },
        controllerName: CONTROLLER,
        conditions: [
          { type: 'Accepted', status: 'True', reason: 'Accepted', message: '', observedGeneration: 4 },
          { type: 'ResolvedRefs', status: 'True', reason: 'ResolvedRefs', message: '', observedGeneration: 4 },
        ],
      },
    ]);
  });

  it.each<[string, object, string, string]>([
    [
      'a missing ConfigMap',
      { kind: 'ConfigMap', name: 'none' },
      'False NoValidCACertificate',
      'False InvalidCACertificateRef',
    ],
    ['another kind', { kind: 'Secret', name: 'ca' }, 'False NoValidCACertificate', 'False InvalidKind'],
  ])('says of %s what is wrong', (_, ref, accepted, resolved) => {
    expect(brief(ancestorsOf('p', policy('p', 1, ref))?.[0]?.conditions)).toEqual({
      Accepted: accepted,
      ResolvedRefs: resolved,
    });
  });

  it('tells the younger of two that it has no effect', () => {
    const two = [policy('young', 2), policy('old', 1)];
    expect(brief(ancestorsOf('old', ...two)?.[0]?.conditions).Accepted).toBe('True Accepted');
    expect(brief(ancestorsOf('young', ...two)?.[0]?.conditions).Accepted).toBe('False Conflicted');
  });

  it('has no ancestor where no route leads to its target, and loses those it had', () => {
    const elsewhere = (status: object) =>
      policy('p', 1, undefined, {
        spec: { targetRefs: [{ group: '', kind: 'Service', name: 'v9' }], validation: {} },
        ...status,
      });
    expect(ancestorsOf('p', elsewhere({}))).toBeUndefined();
    expect(ancestorsOf('p', elsewhere({ status: { ancestors: [{ controllerName: CONTROLLER }] } }))).toEqual([]);
  });
});

describe('TLSRouteInvalidReferenceGrant, TLSRouteInvalidBackendRefNonexistent, TLSRouteInvalidBackendRefUnknownKind', () => {
  it.each<[object, string]>([
    [{ name: 'web', namespace: 'backend', port: 8080 }, 'False RefNotPermitted'],
    [{ name: 'gone', port: 8080 }, 'False BackendNotFound'],
    [{ name: 'v1', kind: 'Thing', group: 'x', port: 8080 }, 'False InvalidKind'],
    [{ name: 'v1', port: 8080 }, 'True ResolvedRefs'],
  ])('%j is %s', (ref, expected) => {
    const tls = { port: 443, protocol: 'TLS', hostname: '*.example', tls: { mode: 'Passthrough' } };
    const spec = { hostnames: ['a.example'], rules: [{ backendRefs: [ref] }] };
    const more = { kind: 'TLSRoute', version: 'gateway.networking.k8s.io/v1alpha2' };
    const { of } = compile(gateway([listener('tls', tls)]), route('a', spec, more));
    expect(brief(of('TLSRoute').parents[0]?.conditions)).toEqual({ Accepted: 'True Accepted', ResolvedRefs: expected });
  });
});
