import { routeMatcher } from '@edgemesh/proxy-http';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileGateway } from '../compile-gateway.ts';
import { catalogOf, serviceOf } from '../testing/catalog.ts';

const API = 'gateway.networking.k8s.io/v1';
const CLASS = {
  apiVersion: API,
  kind: 'GatewayClass',
  metadata: { name: 'c' },
  spec: { controllerName: 'edgemesh.kubeedge.io/gateway' },
};
const SERVICES = [serviceOf('default/s', 80)];

interface Match {
  readonly type: 'Exact' | 'PathPrefix';
  readonly path: string;
  readonly method: string | undefined;
  readonly headers: number;
}
interface RouteCase {
  readonly hosts: readonly string[];
  readonly matches: readonly Match[];
}

const label = fc.constantFrom('a', 'b');
const name = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'));
const pattern = fc.oneof(
  name,
  name.map((n) => `*.${n}`),
);
const path = fc.array(fc.constantFrom('a', 'b'), { maxLength: 3 }).map((parts) => `/${parts.join('/')}`);
const match: fc.Arbitrary<Match> = fc.record({
  type: fc.constantFrom('Exact' as const, 'PathPrefix' as const),
  path,
  method: fc.option(fc.constant('GET'), { nil: undefined }),
  headers: fc.nat({ max: 2 }),
});
const routes: fc.Arbitrary<readonly RouteCase[]> = fc.array(
  fc.record({ hosts: fc.array(pattern, { maxLength: 2 }), matches: fc.array(match, { minLength: 1, maxLength: 3 }) }),
  { minLength: 1, maxLength: 4 },
);
const listeners = fc.uniqueArray(fc.oneof(pattern, fc.constant('*')), { minLength: 1, maxLength: 3 });

function covers(outer: string, host: string): boolean {
  return (
    outer === '*' ||
    outer === host ||
    (outer.startsWith('*.') && host.endsWith(outer.slice(1)) && host.length > outer.length - 1)
  );
}
const specificity = (host: string) => (host === '*' ? 0 : host.startsWith('*.') ? host.length : 1_000);

/** A slow reading of the specification: every match that holds, then the best by each rule in turn. */
function slowFind(
  hostnames: readonly string[],
  cases: readonly RouteCase[],
  host: string,
  target: string,
): string | undefined {
  const owner = hostnames.filter((h) => covers(h, host)).sort((x, y) => specificity(y) - specificity(x))[0];
  if (owner === undefined) return undefined;
  const candidates = cases.flatMap((route, r) => {
    const meets = (
      route.hosts.length === 0
        ? [owner]
        : route.hosts.flatMap((h) => (covers(owner, h) ? [h] : covers(h, owner) ? [owner] : []))
    ).filter((h) => covers(h, host));
    if (meets.length === 0) return [];
    const best = Math.max(...meets.map(specificity));
    return route.matches.flatMap((m, i) => {
      const holds =
        m.type === 'Exact' ? target === m.path : m.path === '/' || target === m.path || target.startsWith(`${m.path}/`);
      return holds
        ? [
            {
              key: [best, m.type === 'Exact' ? 1 : 0, m.path.length, m.method ? 1 : 0, m.headers, -r, -i],
              name: `${r}.${i}`,
            },
          ]
        : [];
    });
  });
  candidates.sort((x, y) => {
    const at = x.key.findIndex((value, k) => value !== y.key[k]);
    return at < 0 ? 0 : (y.key[at] as number) - (x.key[at] as number);
  });
  return candidates[0]?.name;
}

function objectsOf(hostnames: readonly string[], cases: readonly RouteCase[]): unknown[] {
  const gateway = {
    apiVersion: API,
    kind: 'Gateway',
    metadata: { name: 'g', namespace: 'default' },
    spec: {
      gatewayClassName: 'c',
      listeners: hostnames.map((hostname, i) => ({
        name: `l${i}`,
        port: 80,
        protocol: 'HTTP',
        ...(hostname !== '*' && { hostname }),
      })),
    },
  };
  const httpRoutes = cases.map(({ hosts, matches }, r) => ({
    apiVersion: API,
    kind: 'HTTPRoute',
    metadata: { name: `r${r}`, namespace: 'default' },
    spec: {
      parentRefs: [{ name: 'g' }],
      ...(hosts.length > 0 && { hostnames: hosts }),
      rules: matches.map((m, i) => ({
        name: `${r}.${i}`,
        matches: [
          {
            path: { type: m.type, value: m.path },
            ...(m.method && { method: m.method }),
            headers: Array.from({ length: m.headers }, (_, h) => ({ name: `h${h}`, value: 'v' })),
          },
        ],
        backendRefs: [{ name: 's', port: 80 }],
      })),
    },
  }));
  return [CLASS, gateway, ...httpRoutes];
}

describe('routing by the Gateway API', () => {
  it('agrees with a slow reading of the specification', () => {
    fc.assert(
      fc.property(listeners, routes, name, path, (hostnames, cases, host, target) => {
        const { ports } = compileGateway(catalogOf(SERVICES, objectsOf(hostnames, cases)));
        const [port] = ports;
        if (port?.kind !== 'http') throw new Error('no port');
        const hit = routeMatcher(port.table).match({
          method: 'GET',
          scheme: 'http',
          authority: host,
          host,
          port: 80,
          path: target,
          query: '',
          header: () => 'v',
        });
        expect(hit?.route.name.split('/').at(-1)).toBe(slowFind(hostnames, cases, host, target));
      }),
      { numRuns: 800 },
    );
  });
});
