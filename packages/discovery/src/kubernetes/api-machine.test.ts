import type { KubeObject } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { DiscoveryError } from '../errors.ts';
import { createApiMachine } from './api-machine.ts';
import type { ReflectorAction, ReflectorEvent, WatchEvent } from './machine.ts';

const timings = { secondLookMs: 5_000, missingReprobeMs: 300_000, backoff: { initialMs: 500, maxMs: 30_000 } };
const object = (name: string, resourceVersion: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace: 'a', name, resourceVersion },
});

function setup(resource: { versions: readonly string[]; optional?: boolean } = { versions: ['v1'] }) {
  let seconds = 300;
  const machine = createApiMachine({
    resource,
    pageLimit: 2,
    relistMs: 600_000,
    watchIdleMs: 180_000,
    timings,
    nextTimeoutSeconds: () => seconds++,
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
    page: (items: readonly KubeObject[], resourceVersion?: string, next?: string) =>
      send({
        type: 'page',
        page: { items, ...(resourceVersion && { resourceVersion }), ...(next && { continue: next }) },
      }),
    event: (type: WatchEvent['type'], value: unknown) =>
      send({ type: 'watch-event', event: { type, object: value as KubeObject } }),
    fail: (code: DiscoveryError['code'], status?: number) =>
      send({ type: 'list-failed', error: new DiscoveryError(code, 'x', { ...(status && { status }) }) }),
    advance: (ms: number) => {
      now += ms;
    },
    /** Moves to the deadline and wakes. */
    due: () => {
      now = state.deadline as number;
      return send({ type: 'wake' });
    },
    waitMs: () => (state.deadline as number) - now,
    phase: () => state.phase,
  };
}
const types = (actions: readonly ReflectorAction[]) => actions.map(({ type }) => type);
const find = <T extends ReflectorAction['type']>(actions: readonly ReflectorAction[], type: T) =>
  actions.find((action): action is Extract<ReflectorAction, { type: T }> => action.type === type);

/** Listed once and watching from version 10. */
function watching() {
  const t = setup();
  t.wake();
  t.page([object('a', '5')], '10');
  t.send({ type: 'watch-opened' });
  return t;
}

describe('the API server reflector', () => {
  it('lists in pages, hands over the whole, and watches from the version of the list with bookmarks', () => {
    const t = setup();
    expect(t.wake()).toEqual([{ type: 'list', request: { version: 'v1', limit: 2 }, reason: 'start' }]);
    expect(t.page([object('a', '1'), object('b', '2')], '10', 'next')).toEqual([
      { type: 'list', request: { version: 'v1', limit: 2, continue: 'next' } },
    ]);
    const actions = t.page([object('c', '3')], '10');
    expect(find(actions, 'replace')).toMatchObject({ authority: 'authoritative' });
    const objects = find(actions, 'replace')?.objects as ReturnType<typeof object>[];
    expect(objects.map(({ metadata }) => metadata.name)).toEqual(['a', 'b', 'c']);
    expect(find(actions, 'watch')?.request).toEqual({
      version: 'v1',
      resourceVersion: '10',
      timeoutSeconds: 300,
      bookmarks: true,
    });
    expect(types(actions)).toContain('listed');
  });

  it('lists everything at once after a continue token expired', () => {
    const t = setup();
    t.wake();
    t.page([object('a', '1')], '10', 'next');
    expect(t.fail('api-gone', 410)).toEqual([{ type: 'list', request: { version: 'v1' }, reason: 'gone' }]);
    t.page([object('a', '1')], '11');
    t.send({ type: 'watch-opened' });
    t.advance(700_000);
    expect(find(t.wake(), 'list')?.request.limit).toBe(2);
  });

  it('resumes a watch where it ended: after the last event, or the last bookmark', () => {
    const t = watching();
    expect(types(t.event('MODIFIED', object('a', '12')))).toEqual(['upsert', 'confirm']);
    t.advance(60_000);
    expect(find(t.send({ type: 'watch-ended' }), 'watch')?.request.resourceVersion).toBe('12');
    t.send({ type: 'watch-opened' });
    expect(types(t.event('BOOKMARK', { metadata: { resourceVersion: '40' } }))).toEqual(['confirm']);
    t.advance(60_000);
    const again = find(t.send({ type: 'watch-ended' }), 'watch')?.request;
    expect(again).toMatchObject({ resourceVersion: '40', timeoutSeconds: 302 });
  });

  it('resumes after a dropped connection with growing waits', () => {
    const t = watching();
    const drop = () => t.send({ type: 'watch-ended', error: new DiscoveryError('api-unreachable', 'reset') });
    t.advance(60_000);
    expect(find(drop(), 'health')).toMatchObject({ state: 'offline', error: 'reset' });
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      waits.push(t.waitMs());
      expect(find(t.due(), 'watch')?.request.resourceVersion).toBe('10');
      drop();
    }
    expect(waits).toEqual([375, 750, 1500, 3000, 6000, 12_000, 22_500, 22_500]);
    t.due();
    expect(find(t.send({ type: 'watch-opened' }), 'health')).toEqual({ type: 'health', state: 'live' });
  });

  it('lists again on 410, as a status or as an event, and not in a tight circle', () => {
    const t = watching();
    t.advance(60_000);
    const gone = t.event('ERROR', { code: 410, message: 'too old' });
    expect(types(gone)).toEqual(['close-watch', 'watch-restart', 'list']);
    expect(find(gone, 'list')?.reason).toBe('gone');
    t.page([], '50');
    const again = t.send({ type: 'watch-ended', error: new DiscoveryError('api-gone', 'x', { status: 410 }) });
    expect(types(again)).toEqual(['watch-restart', 'health']);
    expect(find(t.due(), 'list')).toMatchObject({ reason: 'gone' });
  });

  it('reopens a watch that is silent for too long, from where it stands', () => {
    const t = watching();
    t.advance(100_000);
    t.send({ type: 'watch-bytes' });
    expect(t.waitMs()).toBe(180_000);
    const actions = t.due();
    expect(types(actions)).toEqual(['close-watch', 'watch-restart', 'watch']);
    expect(find(actions, 'watch-restart')?.reason).toBe('idle');
    expect(find(actions, 'watch')?.request.resourceVersion).toBe('10');
  });

  it('lists everything again now and then, closing the watch first', () => {
    const t = watching();
    for (let i = 0; i < 5; i++) {
      t.advance(119_000);
      t.send({ type: 'watch-bytes' });
    }
    const actions = t.due();
    expect(types(actions)).toEqual(['close-watch', 'list']);
    expect(find(actions, 'list')?.reason).toBe('periodic');
  });

  it('takes a second look soon when told so', () => {
    const t = setup();
    t.wake();
    t.page([], '10');
    t.send({ type: 'second-look' });
    t.send({ type: 'watch-opened' });
    expect(t.waitMs()).toBe(5_000);
    expect(find(t.due(), 'list')?.reason).toBe('second-look');
  });

  it('waits as long as the server asks', () => {
    const t = setup();
    t.wake();
    t.send({
      type: 'list-failed',
      error: new DiscoveryError('api-status', '429', { status: 429, retryAfterMs: 7_000 }),
    });
    expect(t.waitMs()).toBe(7_000);
  });

  it('tries the versions of a missing resource in turn, takes it as empty, and looks again later', () => {
    const t = setup({ versions: ['v1', 'v1beta1'], optional: true });
    expect(find(t.wake(), 'list')?.request.version).toBe('v1');
    expect(find(t.fail('api-status', 404), 'list')?.request.version).toBe('v1beta1');
    const actions = t.fail('api-status', 404);
    expect(types(actions)).toEqual(['missing', 'replace', 'listed', 'health']);
    expect(t.waitMs()).toBe(300_000);
    expect(find(t.due(), 'list')?.request.version).toBe('v1');
    t.fail('api-status', 404);
    expect(find(t.page([], '5'), 'watch')?.request.version).toBe('v1beta1');
  });

  it('treats a required resource that is missing as a failure', () => {
    const t = setup();
    t.wake();
    expect(types(t.fail('api-status', 404))).toEqual(['health']);
    expect(t.phase()).toBe('waiting');
  });

  it('refuses a list without a version, which could not be watched', () => {
    const t = setup();
    t.wake();
    expect(types(t.page([object('a', '1')]))).toEqual(['health']);
  });

  it('ignores answers that come too late', () => {
    const t = watching();
    expect(t.page([object('x', '1')], '99')).toEqual([]);
    expect(t.fail('api-timeout')).toEqual([]);
  });
});
