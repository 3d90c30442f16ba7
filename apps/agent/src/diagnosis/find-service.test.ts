import { createTestCatalog } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { testService } from '../testing/catalog.ts';
import { findService } from './find-service.ts';

const catalog = createTestCatalog();
catalog.put(testService('hello', { clusterIPs: ['10.96.0.7', 'fd00::7'] }));
catalog.put({ ...testService('db'), id: 'shop/db', namespace: 'shop', clusterIPs: [], headless: true });

const find = (name: string, namespace?: string) =>
  findService(catalog.current, {
    name,
    clusterDomain: 'cluster.local',
    ...(namespace !== undefined && { namespace }),
  });

describe('a Service is found', () => {
  it.each([
    ['hello', 'default/hello'],
    ['HELLO.default.', 'default/hello'],
    ['default/hello', 'default/hello'],
    ['hello.default.svc', 'default/hello'],
    ['hello.default.svc.cluster.local', 'default/hello'],
    ['10.96.0.7', 'default/hello'],
    ['fd00::7', 'default/hello'],
    ['db.shop', 'shop/db'],
    ['db-0.db.shop.svc.cluster.local', 'shop/db'],
  ])('by %s', (name, id) => expect(find(name).service?.id).toBe(id));

  it('in the namespace that is given, where the name has none', () => {
    expect(find('db', 'shop').service?.id).toBe('shop/db');
  });
});

describe('a Service that is not there', () => {
  it('is named in full, with those that are meant perhaps', () => {
    expect(find('db')).toEqual({ service: undefined, wanted: 'default/db', suggestions: ['shop/db'] });
    expect(find('nothing.like.it')).toMatchObject({ suggestions: [] });
    expect(find('')).toMatchObject({ service: undefined });
  });
});
