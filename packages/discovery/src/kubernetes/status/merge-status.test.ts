import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sameJson } from '../../normalize/equal.ts';
import { type MergeOptions, mergeStatus } from './merge-status.ts';

const OURS = 'edgemesh.kubeedge.io/gateway';
const OLD = '2026-01-01T00:00:00Z';
const NOW = '2026-02-02T00:00:00Z';
const options: MergeOptions = { controllerName: OURS, now: NOW, namespace: 'shop' };
const condition = (type: string, status: string, more: object = {}) => ({
  type,
  status,
  reason: 'R',
  message: '',
  ...more,
});
const parent = (parentRef: object, status = 'True', controllerName = OURS, more: object = {}) => ({
  parentRef,
  controllerName,
  conditions: [condition('Accepted', status, more)],
});

describe('a merged status', () => {
  it('keeps the time of conditions that stay, and sets it on those that change or are new', () => {
    const current = {
      conditions: [
        condition('A', 'True', { lastTransitionTime: OLD, message: 'old' }),
        condition('B', 'True', { lastTransitionTime: OLD }),
      ],
    };
    const wanted = { conditions: [condition('A', 'True'), condition('B', 'False'), condition('C', 'True')] };
    expect(mergeStatus(current, wanted, options)).toEqual({
      conditions: [
        condition('A', 'True', { lastTransitionTime: OLD }),
        condition('B', 'False', { lastTransitionTime: NOW }),
        condition('C', 'True', { lastTransitionTime: NOW }),
      ],
    });
  });

  it('leaves conditions of other types and fields of others alone', () => {
    const current = { conditions: [condition('Theirs', 'True', { lastTransitionTime: OLD })], other: { a: 1 } };
    expect(mergeStatus(current, { conditions: [condition('A', 'True')] }, options)).toEqual({
      conditions: [
        condition('Theirs', 'True', { lastTransitionTime: OLD }),
        condition('A', 'True', { lastTransitionTime: NOW }),
      ],
      other: { a: 1 },
    });
  });

  it('replaces its own parents where they stand, drops those it no longer has, and keeps those of other controllers', () => {
    const theirs = parent({ name: 'gw' }, 'False', 'other', { lastTransitionTime: OLD });
    // the server fills in group and kind
    const full = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'gw', sectionName: 'a' };
    const current = {
      parents: [
        parent({ name: 'gone' }, 'True', OURS, { lastTransitionTime: OLD }),
        parent(full, 'True', OURS, { lastTransitionTime: OLD }),
        theirs,
      ],
    };
    const wanted = {
      parents: [
        parent({ name: 'new', namespace: 'shop' }),
        parent({ name: 'gw', sectionName: 'a', namespace: 'shop' }),
      ],
    };
    expect(mergeStatus(current, wanted, options)).toEqual({
      parents: [
        parent(full, 'True', OURS, { lastTransitionTime: OLD }),
        theirs,
        parent({ name: 'new', namespace: 'shop' }, 'True', OURS, { lastTransitionTime: NOW }),
      ],
    });
  });

  it('treats ancestors of policies as parents of routes', () => {
    const ancestor = (name: string, controllerName: string, more: object = {}) => ({
      ancestorRef: { name },
      controllerName,
      conditions: [condition('Accepted', 'True', more)],
    });
    const theirs = ancestor('gw', 'other', { lastTransitionTime: OLD });
    const current = { ancestors: [ancestor('gone', OURS), theirs, ancestor('gw', OURS, { lastTransitionTime: OLD })] };
    expect(mergeStatus(current, { ancestors: [ancestor('gw', OURS)] }, options)).toEqual({
      ancestors: [theirs, ancestor('gw', OURS, { lastTransitionTime: OLD })],
    });
    expect(mergeStatus(current, { ancestors: [] }, options)).toEqual({ ancestors: [theirs] });
  });

  it('has exactly the listeners that are wanted', () => {
    const listener = (name: string, time?: string) => ({
      name,
      attachedRoutes: 1,
      conditions: [condition('Accepted', 'True', time === undefined ? {} : { lastTransitionTime: time })],
    });
    const current = { listeners: [listener('gone', OLD), listener('http', OLD)] };
    expect(mergeStatus(current, { listeners: [listener('http'), listener('new')] }, options)).toEqual({
      listeners: [listener('http', OLD), listener('new', NOW)],
    });
  });

  it('settles: two controllers that write in turns stop after one turn each', () => {
    const parents = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 4 });
    fc.assert(
      fc.property(parents, parents, fc.boolean(), (ours, theirs, holds) => {
        const want = (names: readonly string[], controllerName: string) => ({
          parents: names.map((name) => parent({ name }, holds ? 'True' : 'False', controllerName)),
        });
        const write = (status: unknown, names: readonly string[], controllerName: string, now: string) =>
          mergeStatus(status, want(names, controllerName), { controllerName, now, namespace: 'shop' });
        const first = write(write({}, ours, OURS, OLD), theirs, 'other', OLD);
        expect(sameJson(write(first, ours, OURS, NOW), first)).toBe(true);
        expect(sameJson(write(first, theirs, 'other', NOW), first)).toBe(true);
      }),
    );
  });

  it('takes anything for a status', () => {
    fc.assert(
      fc.property(fc.anything(), (current) => {
        const wanted = {
          conditions: [condition('A', 'True')],
          parents: [parent({ name: 'gw' })],
          listeners: [{ name: 'l' }],
        };
        const once = mergeStatus(current, wanted, options);
        expect(mergeStatus(once, wanted, { ...options, now: '2027-01-01T00:00:00Z' })).toEqual(once);
      }),
    );
  });
});
