import type { KubeObject } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { DiscoveryError } from '../errors.ts';
import { classifyList } from './classify.ts';
import { INITIAL_LINK, type LinkEvent, stepLink } from './link-machine.ts';
import type { ListPage, ReflectorAction, ReflectorEvent, WatchEvent } from './machine.ts';
import { createMetaMachine } from './meta-machine.ts';
import { createTimeouts } from './session.ts';

const timings = { secondLookMs: 5_000, missingReprobeMs: 300_000, backoff: { initialMs: 500, maxMs: 30_000 } };
const object = (name: string, resourceVersion: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace: 'a', name, resourceVersion },
});
const cloud = (resourceVersion: string, ...items: KubeObject[]): ListPage => ({ items, resourceVersion });
const local = (...items: KubeObject[]): ListPage =>
  items.length === 0 ? { items } : { items, resourceVersion: '7', selfLink: '/core/v1/services/null/null' };

function setup(resource: { versions?: readonly string[]; optional?: boolean; plural?: string } = {}) {
  const machine = createMetaMachine({
    resource: { versions: ['v1'], plural: 'services', ...resource },
    pageLimit: 200,
    timings,
    nextTimeoutSeconds: createTimeouts(() => 0),
    random: () => 0.5,
  });
  let state = machine.initial;
  let now = 0;
  const send = (event: ReflectorEvent): readonly ReflectorAction[] => {
    const step = machine.step(state, event, now);
    state = step.state;
    return step.actions;
  };
  return {
    send,
    wake: () => send({ type: 'wake' }),
    page: (page: ListPage) => send({ type: 'page', page }),
    event: (type: WatchEvent['type'], value: KubeObject) =>
      send({ type: 'watch-event', event: { type, object: value } }),
    due: () => {
      now = state.deadline as number;
      return send({ type: 'wake' });
    },
    advance: (ms: number) => {
      now += ms;
    },
    waitMs: () => (state.deadline as number) - now,
    state: () => state,
  };
}
const types = (actions: readonly ReflectorAction[]) => actions.map(({ type }) => type);
const find = <T extends ReflectorAction['type']>(actions: readonly ReflectorAction[], type: T) =>
  actions.find((action): action is Extract<ReflectorAction, { type: T }> => action.type === type);

/** Cloud-listed at version 100 and watching. */
function watching() {
  const t = setup();
  t.wake();
  t.page(cloud('100', object('a', '50')));
  t.send({ type: 'watch-opened' });
  return t;
}

describe('rule 1: every list is classified, and a local one never removes', () => {
  it('knows the three shapes of METASERVER.md', () => {
    expect(classifyList({ resourceVersion: '1039' })).toBe('cloud');
    expect(classifyList({ resourceVersion: '1245', selfLink: '/core/v1/services/null/null' })).toBe('local');
    expect(classifyList({})).toBe('local');
    expect(classifyList({ resourceVersion: '' })).toBe('local');
  });

  it('hands a local list over as a hint and asks about the link', () => {
    const t = setup();
    t.wake();
    const actions = t.page(local(object('a', '1')));
    expect(types(actions)).toEqual(['replace', 'ask-link']);
    expect(find(actions, 'replace')?.authority).toBe('hint');
  });

  it('never hands over an authoritative list unless each page came from the cloud', () => {
    const t = watching();
    for (const page of [local(), local(object('a', '1'))]) {
      t.due();
      expect(t.page(page).some((action) => action.type === 'replace' && action.authority === 'authoritative')).toBe(
        false,
      );
      t.send({ type: 'link', online: true });
    }
  });
});

describe('rule 2: pages, each with its own time', () => {
  it('walks the pages and discards the walk when one is local', () => {
    const t = setup();
    expect(find(t.wake(), 'list')?.request).toEqual({ version: 'v1', limit: 200 });
    const next = t.page({ ...cloud('100', object('a', '1')), continue: 'token' });
    expect(find(next, 'list')?.request).toEqual({ version: 'v1', limit: 200, continue: 'token' });
    expect(types(t.page(local(object('b', '1'))))).toEqual(['ask-link']);
  });

  it('asks for smaller pages when a page does not make it over a link that is there, and larger ones again later', () => {
    const t = setup();
    t.wake();
    const limits: (number | undefined)[] = [];
    for (let i = 0; i < 6; i++) {
      t.page(local());
      t.send({ type: 'link', online: true });
      limits.push(find(t.due(), 'list')?.request.limit);
    }
    expect(limits).toEqual([100, 50, 25, 12, 10, 10]);
    t.page(cloud('100'));
    expect(find(t.due(), 'list')?.request.limit).toBe(20);
  });
});

describe('rule 3: a watch only after a cloud list of exactly this resource and version', () => {
  it('does not watch after a local list, online or offline', () => {
    const t = setup();
    t.wake();
    expect(types(t.page(local(object('a', '1'))))).not.toContain('watch');
    expect(types(t.send({ type: 'link', online: false }))).not.toContain('watch');
    expect(types(t.send({ type: 'link-up' }))).toEqual(['list']);
    expect(types(t.page(cloud('9')))).toContain('watch');
  });

  it('never watches a version that the cloud has not listed', () => {
    const t = setup({ versions: ['v1', 'v1beta1', 'v1alpha3'], optional: true });
    expect(find(t.wake(), 'list')?.request.version).toBe('v1');
    t.page(local());
    expect(find(t.send({ type: 'link', online: true }), 'list')?.request.version).toBe('v1beta1');
    expect(find(t.page(cloud('9')), 'watch')?.request.version).toBe('v1beta1');
  });

  it('takes a resource that no version answers for as missing, without a watch, and looks again later', () => {
    const t = setup({ versions: ['v1', 'v1beta1'], optional: true });
    t.wake();
    t.page(local());
    t.send({ type: 'link', online: true });
    t.page(local());
    expect(types(t.send({ type: 'link', online: true }))).toEqual(['missing', 'listed']);
    expect(t.waitMs()).toBe(300_000);
    expect(find(t.due(), 'list')?.request.version).toBe('v1');
  });

  it('lists again before it reopens a watch that ended', () => {
    const t = watching();
    t.advance(10_000);
    expect(types(t.send({ type: 'watch-ended' }))).toEqual(['watch-restart']);
    expect(t.waitMs()).toBe(0);
    expect(types(t.due())).toEqual(['list']);
    expect(types(t.page(cloud('120')))).toContain('watch');
  });

  it('stops watching an optional resource that stays local while the cloud is there', () => {
    const t = setup({ optional: true, plural: 'destinationrules' });
    t.wake();
    t.page(cloud('100'));
    const seen: string[] = [];
    for (let i = 0; i < 4; i++) {
      t.due();
      t.page(local());
      seen.push(...types(t.send({ type: 'link', online: true })));
    }
    expect(seen).toContain('close-watch');
    expect(t.state()).toMatchObject({ watch: 'closed', cloudVersion: undefined });
  });
});

describe('rule 4: the watch is a hint', () => {
  it('drops what the last cloud list covers, as ghosts and stale replays are', () => {
    const t = watching();
    expect(types(t.event('ADDED', object('ghost', '100')))).toEqual(['ghost']);
    expect(types(t.event('MODIFIED', object('a', '49')))).toEqual(['ghost']);
    expect(types(t.event('ADDED', object('b', '101')))).toEqual(['upsert']);
  });

  it('passes a deletion on with its version, for the store to compare', () => {
    const t = watching();
    expect(t.event('DELETED', object('a', '110'))).toEqual([{ type: 'remove', object: object('a', '110') }]);
  });

  it('drops events without a version', () => {
    const t = watching();
    const bare: KubeObject = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'a' } };
    expect(types(t.event('ADDED', bare))).toEqual(['ghost']);
    expect(types(t.event('DELETED', bare))).toEqual(['ghost']);
  });

  it('applies what arrived during a list again on top of it, and only what the list does not cover', () => {
    const t = watching();
    t.due();
    expect(types(t.event('ADDED', object('new', '130')))).toEqual(['upsert']);
    t.event('ADDED', object('covered', '115'));
    t.event('DELETED', object('a', '131'));
    const actions = t.page(cloud('120', object('a', '50'), object('covered', '115')));
    expect(types(actions)).toEqual(['saw-cloud', 'replace', 'upsert', 'ghost', 'remove', 'listed', 'health']);
  });
});

describe('rule 5: lists again and again, Gateways only so', () => {
  it('lists every 30 to 60 s', () => {
    const t = watching();
    expect(t.waitMs()).toBe(45_000);
    const actions = t.due();
    expect(find(actions, 'list')?.reason).toBe('periodic');
    expect(types(t.page(cloud('100')))).not.toContain('watch');
  });

  it('never watches Gateways', () => {
    const t = setup({ plural: 'gateways', versions: ['v1'], optional: true });
    t.wake();
    expect(types(t.page(cloud('9')))).toEqual(['saw-cloud', 'replace', 'listed', 'health']);
    expect(t.waitMs()).toBe(45_000);
  });
});

describe('rule 6: offline and back', () => {
  it('rests while the cloud is away, then lists, closes the watch and opens a new one', () => {
    const t = watching();
    t.due();
    t.page(local(object('a', '50')));
    expect(find(t.send({ type: 'link', online: false }), 'health')?.state).toBe('offline');
    expect(t.state()).toMatchObject({ phase: 'parked', deadline: undefined });
    expect(find(t.send({ type: 'link-up' }), 'list')?.reason).toBe('link-up');
    const actions = types(t.page(cloud('200')));
    expect(actions.indexOf('close-watch')).toBeGreaterThan(actions.indexOf('replace'));
    expect(actions.indexOf('watch')).toBeGreaterThan(actions.indexOf('close-watch'));
  });

  it('rests on the word of another, once it has seen the cloud itself', () => {
    const t = watching();
    expect(types(t.send({ type: 'link', online: false }))).toEqual(['health']);
    expect(t.state().phase).toBe('parked');
    const fresh = setup();
    expect(types(fresh.send({ type: 'link', online: false }))).toEqual([]);
    expect(fresh.state().phase).toBe('waiting');
  });

  it('does not reopen a watch that ends while the cloud is away', () => {
    const t = watching();
    t.due();
    t.page(local());
    t.send({ type: 'link', online: false });
    expect(types(t.send({ type: 'watch-ended' }))).toEqual(['watch-restart']);
    expect(t.state().phase).toBe('parked');
    t.send({ type: 'link-up' });
    expect(types(t.page(cloud('200')))).toContain('watch');
  });

  it('does not blame the resource when the link came back while it was asking', () => {
    const t = setup({ versions: ['v1', 'v1beta1'], optional: true });
    t.wake();
    t.page(local());
    t.send({ type: 'link-up' });
    expect(find(t.send({ type: 'link', online: true }), 'list')?.request.version).toBe('v1');
  });

  it('treats a request that fails as a doubt about the link', () => {
    const t = watching();
    t.due();
    const failed = t.send({ type: 'list-failed', error: new DiscoveryError('api-unreachable', 'refused') });
    expect(types(failed)).toEqual(['health', 'ask-link']);
  });

  it('probes on doubt, every few seconds while offline, and tells all when it is back', () => {
    let state = INITIAL_LINK;
    const send = (event: LinkEvent, now = 0) => {
      const step = stepLink(state, event, now, () => 7_000);
      state = step.state;
      return step.actions;
    };
    expect(send({ type: 'doubt' })).toEqual([{ type: 'probe' }]);
    expect(send({ type: 'doubt' })).toEqual([]);
    expect(send({ type: 'probed', online: false }, 10)).toEqual([{ type: 'verdict', online: false }]);
    expect(state.deadline).toBe(7_010);
    expect(send({ type: 'wake' }, 7_010)).toEqual([{ type: 'probe' }]);
    expect(send({ type: 'probed', online: true })).toEqual([{ type: 'up' }, { type: 'verdict', online: true }]);
    expect(send({ type: 'doubt' })).toEqual([{ type: 'probe' }]);
    expect(send({ type: 'probed', online: true })).toEqual([{ type: 'verdict', online: true }]);
    expect(state.deadline).toBeUndefined();
  });
});

describe('rule 7: no two watches alike, none for ever', () => {
  it('gives each attempt another timeoutSeconds within 300 to 600', () => {
    const next = createTimeouts(() => 0.9);
    const values = Array.from({ length: 301 }, next);
    expect(new Set(values).size).toBe(301);
    expect(Math.min(...values)).toBe(300);
    expect(Math.max(...values)).toBe(600);
  });

  it('asks for neither bookmarks nor a version', () => {
    const t = setup();
    t.wake();
    expect(find(t.page(cloud('100')), 'watch')?.request).toEqual({
      version: 'v1',
      timeoutSeconds: 300,
      bookmarks: false,
    });
  });

  it('closes a watch that outlives its time', () => {
    const t = watching();
    for (let i = 0; i < 8; i++) {
      t.due();
      t.page(cloud('100'));
    }
    const seen: string[] = [];
    for (let i = 0; i < 8 && !seen.includes('close-watch'); i++) {
      seen.push(...types(t.due()));
      t.page(cloud('100'));
    }
    expect(seen).toContain('close-watch');
  });

  it('does not hammer a server that ends watches at once', () => {
    const t = watching();
    const waits: number[] = [];
    for (let i = 0; i < 5; i++) {
      t.send({ type: 'watch-ended' });
      waits.push(t.waitMs());
      t.due();
      t.page(cloud('100'));
    }
    expect(waits).toEqual([750, 1500, 3000, 6000, 12_000]);
  });
});

describe('rule 8: versions of lists are not trusted', () => {
  it('lists without a version, whatever came before', () => {
    const t = watching();
    expect(find(t.due(), 'list')?.request).toEqual({ version: 'v1', limit: 200 });
  });

  it('takes a cloud list whose version went backwards', () => {
    const t = watching();
    t.due();
    expect(find(t.page(cloud('90', object('a', '50'))), 'replace')?.authority).toBe('authoritative');
    expect(types(t.event('ADDED', object('b', '95')))).toEqual(['upsert']);
  });
});
