import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileRegex } from './regex.ts';
import { RegexError } from './syntax.ts';

/** Random patterns of the syntax that RE2 and JavaScript read alike. */
function patternOf(depth: number): fc.Arbitrary<string> {
  const plain = fc.constantFrom(
    'a',
    'b',
    'c',
    '/',
    '.',
    '\\d',
    '\\w',
    '\\W',
    '[ab]',
    '[^a]',
    '[a-c1]',
    '\\.',
    '\\b',
    '^',
    '$',
  );
  const inner = depth === 0 ? plain : patternOf(depth - 1);
  const atom = fc.oneof(
    { weight: 3, arbitrary: plain },
    inner.map((text) => `(?:${text})`),
    inner.map((text) => `(${text})`),
  );
  const quantifier = fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{1,3}', '*?', '+?');
  const part = fc.tuple(atom, quantifier).map(([text, count]) => (/^(\\b|\^|\$)$/.test(text) ? text : text + count));
  const sequence = fc.array(part, { maxLength: 4 }).map((parts) => parts.join(''));
  return fc.oneof(
    { weight: 3, arbitrary: sequence },
    fc.tuple(sequence, sequence).map(([a, b]) => `${a}|${b}`),
  );
}
const patterns = patternOf(2);
const letters = fc.constantFrom('a', 'b', 'c', '1', '/', '.', 'A');
const texts = fc.string({ unit: letters, maxLength: 12 });
/** The oracle backtracks: repetitions of repetitions cost it time that grows exponentially with the text. */
const shortTexts = fc.string({ unit: letters, maxLength: 7 });

describe('a regular expression', () => {
  it('matches whole texts as JavaScript does when anchored', () => {
    fc.assert(
      fc.property(patterns, shortTexts, fc.boolean(), (pattern, text, ignoreCase) => {
        const expected = new RegExp(`^(?:${pattern})$`, ignoreCase ? 'i' : '').test(text);
        expect(compileRegex(pattern, { ignoreCase }).matches(text)).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  it('finds the leftmost match and its groups as JavaScript does, where nothing empty is repeated', () => {
    const simple = fc
      .array(fc.constantFrom('a', 'b+', '(a|b)', '(ab|a)', '[ab]*?', '(c+)', '(a*)', '.', '(b)?'), {
        minLength: 1,
        maxLength: 5,
      })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(simple, texts, (pattern, text) => {
        const expected = text.replace(new RegExp(pattern, 'g'), (match, ...rest) => {
          const group = typeof rest[0] === 'string' ? rest[0] : '';
          return `<${match}:${group}>`;
        });
        const actual = compileRegex(pattern).replaceAll(text, '<\\0:\\1>');
        if (!new RegExp(`^(?:${pattern})$`).test('')) expect(actual).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['[[:alpha:]]+\\x2f\\Qa.b\\E', 'abc/a.b', true],
    ['(?i)HELLO(?-i:X)', 'helloX', true],
    ['(?i)HELLO(?-i:X)', 'hellox', false],
    ['(?P<name>a)(?<other>b)', 'ab', true],
    ['(a(?i)b)c', 'aBc', true],
    ['(a(?i)b)c', 'aBC', false],
    ['[^[:digit:]-]', '-', false],
    ['[]a]', ']', true],
    ['a{', 'a{', true],
    ['(?s).', '\n', true],
    ['.', '\n', false],
  ])('reads %s of RE2 against %j: %s', (pattern, text, expected) => {
    expect(compileRegex(pattern).matches(text)).toBe(expected);
  });

  it('replaces by groups', () => {
    const regex = compileRegex('^/service/([^/]+)(/.*)$');
    expect(regex.replaceAll('/service/foo/v1/api', '\\2/instance/\\1')).toBe('/v1/api/instance/foo');
    expect(compileRegex('one').replaceAll('/xxx/one/yyy/one/zzz', 'two')).toBe('/xxx/two/yyy/two/zzz');
  });

  it.each([
    '(',
    'a)',
    '[a',
    '*a',
    'a**',
    '\\1',
    '(?=a)',
    '(?<!a)',
    '\\p{L}',
    'a{1001}',
    '[b-a]',
    '\\',
    '(?m)a',
    '[[:x:]]',
  ])('refuses %s with a RegexError', (pattern) => {
    expect(() => compileRegex(pattern)).toThrow(RegexError);
  });

  it('never throws anything else', () => {
    const soup = fc.string({ unit: fc.constantFrom(...'ab01()[]{}*+?|\\^$.-:,idwsPQE<>'), maxLength: 20 });
    fc.assert(
      fc.property(soup, (pattern) => {
        try {
          compileRegex(pattern).matches('ab01');
        } catch (error) {
          expect(error).toBeInstanceOf(RegexError);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it.each(['(a+)+$', '(a|aa)+', '(a*)*b', '(.*)(.*)(.*)(.*)(.*)x', '(x+x+)+y'])(
    'answers %s on a long hostile text at once',
    (pattern) => {
      const started = performance.now();
      compileRegex(pattern).matches(`${'a'.repeat(20_000)}!`);
      compileRegex(pattern).replaceAll(`${'x'.repeat(500)}!`, '');
      expect(performance.now() - started).toBeLessThan(2_000);
    },
  );

  it('refuses patterns that would need too much memory', () => {
    expect(() => compileRegex('((a{100}){100}){100}')).toThrow(/instructions/);
    expect(() => compileRegex('('.repeat(500) + ')'.repeat(500))).toThrow(/deep/);
    expect(() => compileRegex('a'.repeat(2_000))).toThrow(/longer/);
  });

  it('stays right when its states are forgotten', () => {
    const pattern = '[ab]*a[ab]{12}';
    const regex = compileRegex(pattern);
    const native = new RegExp(`^(?:${pattern})$`);
    for (let i = 0; i < 400; i++) {
      const text = (i * 2_654_435_761).toString(2).replaceAll('0', 'a').replaceAll('1', 'b');
      expect(regex.matches(text)).toBe(native.test(text));
    }
  });
});
