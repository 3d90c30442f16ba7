import { type Cidr, type Endpoint, parseCidr, type Service, type ServiceId } from '@edgemesh/core';
import { createTestCatalog } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import { testService } from '../testing/catalog.ts';
import { createAddressPool } from './address-pool.ts';
import { createVirtualServices } from './virtual-services.ts';

const headless = (name: string, more: Partial<Service> = {}) =>
  testService(name, { clusterIPs: [], headless: true, ...more });
const pod = (hostname: string, nodeName: string, more: Partial<Endpoint> = {}) =>
  makeEndpoint('172.17.0.2', { hostname, nodeName, port: 5432, portName: 'sql', ...more });

function setup(maxUsed = 10) {
  const view = createTestCatalog();
  const near = new Set(['me']);
  const pool = createAddressPool({ range: parseCidr('240.96.0.0/16') as Cidr, maxUsed, maxKept: 100 });
  const services = createVirtualServices({
    view,
    pool,
    include: ({ labels }) => !('left-alone' in labels),
    needsTunnel: ({ nodeName }) => !near.has(nodeName ?? 'me'),
  });
  const virtual = () => [...services.current.services.values()].filter(({ name }) => name.includes('#'));
  return { view, near, services, virtual };
}

describe('createVirtualServices', () => {
  it('makes a Service with one address and one pod for each pod behind the tunnel, and leaves the others as they are', () => {
    const { view, services, virtual } = setup();
    const db = headless('db');
    const far = pod('db-0', 'far');
    view.put(db, [far, pod('db-0', 'far', { port: 9187, portName: 'metrics' }), pod('db-1', 'me')]);
    const [only, ...others] = virtual();
    expect(others).toEqual([]);
    expect(only).toMatchObject({ headless: false, type: 'ClusterIP', clusterIPs: [services.addressOf(db, far)] });
    expect(only?.ports).toEqual([
      { name: '5432', protocol: 'TCP', port: 5432 },
      { name: '9187', protocol: 'TCP', port: 9187 },
    ]);
    expect(services.current.endpoints.get(only?.id as ServiceId)?.map((e) => e.nodeName)).toEqual(['far', 'far']);
    expect(services.addressOf(db, pod('db-1', 'me'))).toBeUndefined();
    expect(services.current.services.get(db.id)).toBe(db);
  });

  it('keeps the address of a pod that moves to another node, by its hostname', () => {
    const { view, services } = setup();
    const db = headless('db');
    view.put(db, [pod('db-0', 'far')]);
    const before = services.addressOf(db, pod('db-0', 'far'));
    view.put(db, []);
    view.put(db, [pod('db-0', 'farther', { address: '172.17.0.9' })]);
    expect(services.addressOf(db, pod('db-0', 'farther', { address: '172.17.0.9' }))).toBe(before);
  });

  it('tells pods of one name on two nodes apart, and gives both families of one pod the same address', () => {
    const { view, services } = setup();
    const db = headless('db');
    const [a, b] = [pod('same', 'far'), pod('same', 'farther')];
    const six = pod('same', 'far', { address: 'fd00::2' });
    view.put(db, [a, b, six]);
    expect(services.addressOf(db, a)).not.toBe(services.addressOf(db, b));
    expect(services.addressOf(db, six)).toBe(services.addressOf(db, a));
  });

  it.each<[string, Service, Endpoint]>([
    [
      'asks for real addresses',
      headless('db', { annotations: { 'edgemesh.kubeedge.io/virtual-addresses': 'disabled' } }),
      pod('x', 'far'),
    ],
    ['is not ours', headless('db', { labels: { 'left-alone': '' } }), pod('x', 'far')],
    ['has a ClusterIP', testService('db'), pod('x', 'far')],
    ['is an alias', headless('db', { type: 'ExternalName' }), pod('x', 'far')],
    ['names no port', headless('db'), pod('x', 'far', { port: 0 })],
  ])('leaves a Service alone that %s', (_, service, endpoint) => {
    const { view, services, virtual } = setup();
    view.put(service, [endpoint]);
    expect([virtual(), services.addressOf(service, endpoint)]).toEqual([[], undefined]);
  });

  it('reaches a pod that is not ready, as its own address would', () => {
    const { view, services, virtual } = setup();
    view.put(headless('db'), [pod('db-0', 'far', { ready: false, serving: false })]);
    const id = virtual()[0]?.id as ServiceId;
    expect(services.current.endpoints.get(id)?.[0]).toMatchObject({ ready: true, serving: true });
  });

  it('tells listeners of the Services that came and went, with a snapshot of its own', () => {
    const { view, services, virtual } = setup();
    const seen: string[][] = [];
    services.subscribe((catalog, change) => {
      expect(catalog).toBe(services.current);
      seen.push([...change.services].sort());
    });
    const db = headless('db');
    view.put(db, [pod('db-0', 'far')]);
    const id = virtual()[0]?.id as ServiceId;
    view.remove(db.id);
    expect(seen).toEqual([[db.id, id].sort(), [db.id, id].sort()]);
    expect([virtual(), services.status.used]).toEqual([[], 0]);
  });

  it('gives the real address again when the kernel has found a way, and says whose names changed', () => {
    const { view, near, services, virtual } = setup();
    const db = headless('db');
    view.put(db, [pod('db-0', 'far')]);
    view.put(testService('web'), [makeEndpoint('10.0.0.1')]);
    const moved: string[][] = [];
    services.onMoved((ids) => moved.push([...ids]));
    services.recompute();
    expect(moved).toEqual([]);
    near.add('far');
    services.recompute();
    expect([moved, virtual()]).toEqual([[[db.id]], []]);
    expect(services.addressOf(db, pod('db-0', 'far'))).toBeUndefined();
  });

  it('says which Services got no address because all are in use', () => {
    const { view, services, virtual } = setup(1);
    view.put(headless('db'), [pod('db-0', 'far'), pod('db-1', 'far', { address: '172.17.0.3' })]);
    expect([virtual().length, services.status]).toEqual([1, { used: 1, full: ['default/db'] }]);
  });
});
