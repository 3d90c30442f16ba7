import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fieldMatcher, parseFieldTerms, parseLabelSelector } from './selectors.ts';
import { ApiError } from './status.ts';

const labelled = (labels: Record<string, string>) => ({ metadata: { name: 'x', labels } });

describe('label selectors', () => {
  it.each([
    ['a=1', { a: '1' }, true],
    ['a==1', { a: '1' }, true],
    ['a=1', { a: '2' }, false],
    ['a=1', {}, false],
    ['a!=1', {}, true],
    ['a!=1', { a: '1' }, false],
    ['a', { a: '' }, true],
    ['!a', { a: '' }, false],
    ['!a', {}, true],
    ['a in (1,2)', { a: '2' }, true],
    ['a in (1, 2)', { a: '3' }, false],
    ['a in (1)', {}, false],
    ['a notin (1)', {}, true],
    ['a notin (1)', { a: '1' }, false],
    ['a=', { a: '' }, true],
    ['a=1,b', { a: '1', b: 'x' }, true],
    ['a=1,b', { a: '1' }, false],
    ['a in (1,2),!b', { a: '1' }, true],
    [
      '!service.edgemesh.kubeedge.io/service-proxy-name',
      { 'service.edgemesh.kubeedge.io/service-proxy-name': '' },
      false,
    ],
    ['', {}, true],
  ])('%s on %o is %s', (selector, labels, expected) => {
    expect(parseLabelSelector(selector)(labelled(labels as Record<string, string>))).toBe(expected);
  });

  it.each(['a in (1', 'a in 1)', '=1', 'a b', ',', 'a=1,', 'a in ((1))', 'a=!', '!!a', 'a/b/c=1'])(
    'refuses %s with 400',
    (selector) => {
      expect(() => parseLabelSelector(selector)).toThrow(ApiError);
    },
  );

  it('throws nothing but its own error, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', '1', '=', '!', ',', '(', ')', ' ', 'in', 'notin', '/') }),
        (text) => {
          try {
            parseLabelSelector(text)(labelled({ a: '1' }));
          } catch (error) {
            expect(error).toBeInstanceOf(ApiError);
          }
        },
      ),
    );
  });

  it('agrees with a plain reading of set membership', () => {
    const value = fc.constantFrom('x', 'y', 'z');
    fc.assert(
      fc.property(fc.array(value, { minLength: 1 }), fc.option(value, { nil: undefined }), (values, actual) => {
        const object = labelled(actual === undefined ? {} : { k: actual });
        const within = actual !== undefined && values.includes(actual);
        expect(parseLabelSelector(`k in (${values.join(',')})`)(object)).toBe(within);
        expect(parseLabelSelector(`k notin (${values.join(',')})`)(object)).toBe(!within);
      }),
    );
  });
});

describe('field selectors', () => {
  const object = { metadata: { name: 'a', namespace: 'n' }, spec: { type: 'ClusterIP' } };

  it.each([
    ['metadata.name=a', true],
    ['metadata.name!=a', false],
    ['metadata.namespace==n,spec.type=ClusterIP', true],
    ['spec.type=NodePort', false],
    ['', true],
  ])('%s is %s', (text, expected) => {
    expect(fieldMatcher(parseFieldTerms(text), ['spec.type'])(object)).toBe(expected);
  });

  it('refuses fields that the kind does not index', () => {
    expect(() => fieldMatcher(parseFieldTerms('spec.color=red'), ['spec.type'])).toThrow(/not supported: spec.color/);
    expect(() => parseFieldTerms('nonsense')).toThrow(ApiError);
  });
});
