import { describe, expect, it } from 'vitest';
import type { DiscoveryError } from '../errors.ts';
import { createStore } from './store.ts';
import { service, slice } from './test-objects.ts';

const v = (name: string, resourceVersion: string, uid = 'u', spec = {}) =>
  service(name, spec, { resourceVersion, uid });

function setup(...sources: { name: string; origin?: string }[]) {
  const changes: string[] = [];
  const problems: DiscoveryError[] = [];
  let time = 0;
  const store = createStore({
    sources: sources.length > 0 ? sources : [{ name: 'a' }],
    now: () => time,
    onChange: (kind, key) => changes.push(`${kind} ${key}`),
    onProblem: (problem) => problems.push(problem),
  });
  const list = (objects: readonly unknown[], authority: 'authoritative' | 'hint' = 'authoritative', source = 'a') =>
    store.replace(source, { kind: 'Service', objects, authority });
  const names = (source = 'a') => [...(store.layers(source).get('Service')?.objects.keys() ?? [])].sort();
  const versionOf = (key: string) => store.winner('Service', key)?.resourceVersion;
  const at = (ms: number) => {
    time = ms;
  };
  return { store, list, names, versionOf, changes, problems, at };
}

describe('a list', () => {
  it('replaces what was there: missing objects are gone, unchanged ones cost no change', () => {
    const { list, names, changes } = setup();
    list([v('web', '1'), v('db', '2')]);
    changes.length = 0;
    expect(list([v('web', '1'), v('mail', '3')])).toBe('accepted');
    expect(names()).toEqual(['shop/mail', 'shop/web']);
    expect(changes.sort()).toEqual(['Service shop/db', 'Service shop/mail']);
  });

  it('is not read again where uid and version say that nothing changed, unless it comes as another API version', () => {
    const { store, list } = setup();
    list([v('web', '1')]);
    const before = store.winner('Service', 'shop/web');
    list([v('web', '1')]);
    expect(store.winner('Service', 'shop/web')).toBe(before);
    list([{ ...v('web', '1'), apiVersion: 'v2' }]);
    expect(store.winner('Service', 'shop/web')?.apiVersion).toBe('v2');
    list([{ ...v('web', '2'), apiVersion: 'v2' }]);
    expect(store.winner('Service', 'shop/web')?.resourceVersion).toBe('2');
  });

  it('that shrank to nothing is believed only when a second one says the same', () => {
    const { list, names } = setup();
    list([v('web', '1')]);
    expect(list([])).toBe('second-look');
    expect(names()).toEqual(['shop/web']);
    expect(list([])).toBe('accepted');
    expect(names()).toEqual([]);
  });

  it('with objects between two empty ones makes the second empty one a first again', () => {
    const { list } = setup();
    list([v('web', '1')]);
    expect([list([]), list([v('web', '1')]), list([])]).toEqual(['second-look', 'accepted', 'second-look']);
  });

  it('keeps the last good state of an object that is listed but broken', () => {
    const { list, store, names, problems } = setup();
    list([v('web', '1'), v('db', '1')]);
    list([service('web', { type: 'Nonsense' }), service('new', { type: 'Nonsense' }), null]);
    expect(names()).toEqual(['shop/web']);
    expect(store.winner('Service', 'shop/web')?.service?.type).toBe('ClusterIP');
    expect(problems.map(({ object }) => object?.name)).toEqual(['web', 'new', '']);
  });

  it('rejects an object of another kind', () => {
    const { list, names, problems } = setup();
    list([{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'x', namespace: 'y' } }]);
    expect(names()).toEqual([]);
    expect(problems[0]?.message).toContain('list of Service');
  });

  it('of one name leaves the other objects of its kind alone', () => {
    const { store, list, names } = setup();
    list([v('web', '1'), v('db', '1')]);
    const scope = { namespace: 'shop', name: 'db' };
    const empty = () => store.replace('a', { kind: 'Service', objects: [], authority: 'authoritative', scope });
    expect([empty(), empty()]).toEqual(['second-look', 'accepted']);
    expect(names()).toEqual(['shop/web']);
  });

  it('may bring an older version back, as after a restored backup', () => {
    const { list, versionOf } = setup();
    list([v('web', '9')]);
    list([v('web', '3')]);
    expect(versionOf('shop/web')).toBe('3');
  });
});

describe('an object that is read ahead', () => {
  it('stands for itself in the list, broken or not, and keeps the identity of what is held', () => {
    const { store, names, problems, list } = setup();
    list([v('web', '1'), v('mail', '1')]);
    const held = store.winner('Service', 'shop/web');
    const raw = [v('web', '1'), v('db', '2'), service('mail', { type: 'Nonsense' }), slice('s', 'web', [])];
    const prepared = raw.map((object) => store.prepare('a', 'Service', object));
    expect(names()).toEqual(['shop/mail', 'shop/web']);
    expect(list(prepared)).toBe('accepted');
    expect(names()).toEqual(['shop/db', 'shop/mail', 'shop/web']);
    expect(store.winner('Service', 'shop/web')).toBe(held);
    expect(problems.map(({ object }) => object?.name)).toEqual(['mail', 's']);
  });
});

describe('a single event', () => {
  it('is dropped when it is older than what is held, also under another uid', () => {
    const { store, list, versionOf } = setup();
    list([v('web', '10')]);
    expect(store.upsert('a', v('web', '9'))).toBe(false);
    expect(store.upsert('a', v('web', '9', 'other'))).toBe(false);
    expect(store.upsert('a', v('web', '11'))).toBe(true);
    expect(versionOf('shop/web')).toBe('11');
  });

  it('cannot bring back what a newer event deleted', () => {
    const { store, names } = setup();
    store.remove('a', { kind: 'Service', namespace: 'shop', name: 'web', resourceVersion: '6' });
    expect(store.upsert('a', v('web', '5'))).toBe(false);
    expect(store.upsert('a', v('web', '7'))).toBe(true);
    expect(names()).toEqual(['shop/web']);
  });

  it('of deletion that is older than what is held is ignored', () => {
    const { store, names } = setup();
    store.upsert('a', v('web', '7'));
    expect(store.remove('a', { kind: 'Service', namespace: 'shop', name: 'web', resourceVersion: '6' })).toBe(false);
    expect(names()).toEqual(['shop/web']);
    expect(store.remove('a', { kind: 'Service', namespace: 'shop', name: 'web' })).toBe(true);
    expect(names()).toEqual([]);
  });
});

describe('a hint', () => {
  it('is used where nothing is known and never removes', () => {
    const { list, names } = setup();
    expect(list([v('web', '1'), v('db', '1')], 'hint')).toBe('accepted');
    expect(list([v('web', '2')], 'hint')).toBe('accepted');
    expect(names()).toEqual(['shop/db', 'shop/web']);
  });

  it('is ignored where a snapshot or an authoritative list is known', () => {
    const { store, list, names } = setup();
    store.restore('a', 'Service', [v('web', '1')], 0);
    expect(list([v('ghost', '1')], 'hint')).toBe('ignored');
    list([v('db', '1')]);
    expect(list([v('ghost', '1')], 'hint')).toBe('ignored');
    expect(names()).toEqual(['shop/db']);
  });

  it('gives way to the first authoritative list', () => {
    const { list, names } = setup();
    list([v('ghost', '1')], 'hint');
    list([v('web', '1')]);
    expect(names()).toEqual(['shop/web']);
  });
});

describe('several sources', () => {
  it('let the first one win, and the next one serve when it lets go', () => {
    const { store, versionOf } = setup({ name: 'a' }, { name: 'b' });
    store.upsert('b', v('web', '9'));
    store.upsert('a', v('web', '1'));
    expect(versionOf('shop/web')).toBe('1');
    store.remove('a', { kind: 'Service', namespace: 'shop', name: 'web' });
    expect(versionOf('shop/web')).toBe('9');
  });

  it('of one origin let the newer version win', () => {
    const cluster = (name: string) => ({ name, origin: 'cluster' });
    const { store, versionOf } = setup(cluster('a'), { name: 'b' }, cluster('c'));
    store.upsert('a', v('web', '1'));
    store.upsert('b', v('web', '100'));
    store.upsert('c', v('web', '10'));
    expect(versionOf('shop/web')).toBe('10');
  });
});

describe('ages', () => {
  it('count from the last confirmation, and only authoritative data can be confirmed', () => {
    const { store, list, at } = setup();
    store.restore('a', 'Service', [v('web', '1')], -5000);
    at(10);
    store.confirm('a', 'Service');
    expect(store.layers('a').get('Service')?.confirmedAt).toBe(-5000);
    list([v('web', '1')]);
    expect(store.layers('a').get('Service')?.confirmedAt).toBe(10);
    at(20);
    store.confirm('a', 'Service');
    expect(store.layers('a').get('Service')?.confirmedAt).toBe(20);
  });
});
