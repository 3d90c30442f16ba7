import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileGateway } from '../compile-gateway.ts';
import { catalogOf, serviceOf } from '../testing/catalog.ts';
import { GATEWAY_CLASS } from '../testing/gateway-api.ts';
import { type NodeReport, parseReport } from './node-report.ts';
import { renderStatuses } from './render-statuses.ts';

const API = 'gateway.networking.k8s.io/v1';
const catalog = catalogOf(
  [serviceOf('default/web', 80)],
  [
    GATEWAY_CLASS,
    {
      apiVersion: API,
      kind: 'Gateway',
      metadata: { name: 'gw', namespace: 'default', uid: 'u1', generation: 3 },
      spec: {
        gatewayClassName: 'edge',
        listeners: [
          { name: 'http', port: 80, protocol: 'HTTP' },
          { name: 'tcp', port: 9000, protocol: 'TCP' },
          { name: 'none', port: 9001, protocol: 'SCTP' },
        ],
      },
    },
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'IngressClass',
      metadata: { name: 'edge' },
      spec: { controller: 'edgemesh.kubeedge.io/ingress' },
    },
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'in', namespace: 'default' },
      spec: { ingressClassName: 'edge', defaultBackend: { service: { name: 'web', port: { number: 80 } } } },
    },
  ],
);
const { statuses } = compileGateway(catalog);
const render = (...reports: readonly NodeReport['ports'][]) => {
  const rendered = renderStatuses(
    statuses,
    reports.map((ports) => ({ ports })),
  );
  const gateway = rendered.find(({ kind }) => kind === 'Gateway');
  const programmed = (object: unknown) =>
    (
      object as {
        conditions: { type: string; status: string; reason: string; message: string; observedGeneration: number }[];
      }
    ).conditions.find(({ type }) => type === 'Programmed');
  const { addresses, listeners } = (gateway?.status ?? {}) as {
    addresses: { value: string }[];
    listeners: { name: string }[];
  };
  return {
    gateway,
    addresses: addresses.map(({ value }) => value),
    programmed: programmed(gateway?.status),
    listeners: Object.fromEntries(listeners.map((listener) => [listener.name, programmed(listener)])),
    ingress: rendered.find(({ kind }) => kind === 'Ingress')?.status,
  };
};

describe('statuses of several nodes', () => {
  it('have the addresses of every node where a port of the Gateway is open', () => {
    const { addresses, gateway } = render(
      { 'TCP 80': { open: ['192.0.2.9', '192.0.2.1'] }, 'TCP 443': { open: ['192.0.2.7'] } },
      { 'TCP 80': { open: ['192.0.2.1', '2001:db8::1'] } },
      {},
    );
    expect(addresses).toEqual(['192.0.2.1', '192.0.2.9', '2001:db8::1']);
    expect(gateway).toMatchObject({ name: 'gw', uid: 'u1' });
    expect(gateway).not.toHaveProperty('listenerPorts');
  });

  it('name at most 16 of them', () => {
    const open = Array.from({ length: 40 }, (_, i) => `192.0.2.${i}`);
    expect(render({ 'TCP 80': { open } }).addresses).toHaveLength(16);
  });

  it('call a listener programmed where it is open on one node, and say why not otherwise', () => {
    const { listeners, programmed } = render(
      { 'TCP 80': { open: [], problem: 'EADDRINUSE here' } },
      { 'TCP 80': { open: ['192.0.2.1'] }, 'TCP 9000': { open: [], problem: 'EACCES' } },
    );
    expect(listeners).toMatchObject({
      http: { status: 'True', reason: 'Programmed', observedGeneration: 3 },
      tcp: { status: 'False', reason: 'Pending', message: 'EACCES' },
      none: { status: 'False', reason: 'Invalid' },
    });
    expect(programmed).toMatchObject({ status: 'True', observedGeneration: 3 });
  });

  it('tell that no address is allowed where no node listens at all', () => {
    const { listeners, programmed, addresses } = render({});
    expect(addresses).toEqual([]);
    expect(listeners.http).toMatchObject({ status: 'False', message: 'no address of a node is allowed' });
    expect(programmed).toMatchObject({ status: 'False', reason: 'Pending', message: 'no listener is open' });
  });

  it('show an Ingress where port 80 is open', () => {
    expect(render({ 'TCP 80': { open: ['192.0.2.1'] } }).ingress).toEqual({
      loadBalancer: { ingress: [{ ip: '192.0.2.1' }] },
    });
  });

  it('do not depend on the order of reports', () => {
    const address = fc.ipV4();
    const report = fc.record({ 'TCP 80': fc.record({ open: fc.array(address) }) });
    fc.assert(
      fc.property(fc.array(report), (reports) => {
        expect(render(...reports).gateway).toEqual(render(...[...reports].reverse()).gateway);
      }),
    );
  });
});

describe('a report', () => {
  it('is read whatever somebody wrote', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.anything().map((any) => JSON.stringify({ ports: { a: any } }) ?? ''),
        ),
        (text) => {
          for (const { open } of Object.values(parseReport(text).ports))
            expect(open.every((a) => typeof a === 'string')).toBe(true);
        },
      ),
    );
    expect(parseReport('{"ports":{"TCP 80":{"open":["192.0.2.1","x",1],"problem":1}}}')).toEqual({
      ports: { 'TCP 80': { open: ['192.0.2.1'] } },
    });
  });
});
