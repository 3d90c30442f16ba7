import { describe, expect, it } from 'vitest';
import type { PathMatch } from '../route-model.ts';
import { compilePathRewrite } from './path-match.ts';

describe('prefix rewrites', () => {
  const segments = (value: string): PathMatch => ({ kind: 'segments', value });
  const prefix = (value: string): PathMatch => ({ kind: 'prefix', value });
  // The first eight rows are the table of HTTPPathModifier in the Gateway API specification.
  it.each([
    ['/foo/bar', segments('/foo'), '/xyz', '/xyz/bar'],
    ['/foo/bar', segments('/foo'), '/xyz/', '/xyz/bar'],
    ['/foo/bar', segments('/foo/'), '/xyz', '/xyz/bar'],
    ['/foo/bar', segments('/foo/'), '/xyz/', '/xyz/bar'],
    ['/foo', segments('/foo'), '/xyz', '/xyz'],
    ['/foo/', segments('/foo'), '/xyz', '/xyz/'],
    ['/foo/bar', segments('/foo'), '', '/bar'],
    ['/foo/', segments('/foo'), '', '/'],
    ['/foo', segments('/foo'), '', '/'],
    ['/foo/', segments('/foo'), '/', '/'],
    ['/foo', segments('/foo'), '/', '/'],
    ['/x', segments('/'), '/v1', '/v1/x'],
    ['/foobar', prefix('/foo'), '/xyz', '/xyzbar'],
    ['/foo/bar', prefix('/foo/'), '/', '/bar'],
    ['/foo/bar', prefix('/foo'), '/', '//bar'],
    ['/any', { kind: 'exact', value: '/any' } as PathMatch, '/other', '/other'],
    ['/any', { kind: 'regex', value: '/.*' } as PathMatch, '/other', '/other'],
    ['/any', undefined, '/v2', '/v2/any'],
  ])('%s, matched by %j, becomes with %j %s', (path, match, value, expected) => {
    expect(compilePathRewrite({ kind: 'prefix', value })(path, match)).toBe(expected);
  });
});

describe('other rewrites', () => {
  it('replace everything, or by groups, and always start with a slash', () => {
    expect(compilePathRewrite({ kind: 'full', value: 'x' })('/a', undefined)).toBe('/x');
    const regex = compilePathRewrite({ kind: 'regex', pattern: '^/(\\w+)/(\\w+)$', substitution: '\\2/\\1' });
    expect(regex('/a/b', undefined)).toBe('/b/a');
    expect(regex('/a/b/c', undefined)).toBe('/a/b/c');
  });
});
