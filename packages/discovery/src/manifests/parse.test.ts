import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { DiscoveryError } from '../errors.ts';
import { cutDocuments } from './documents.ts';
import { parseManifest } from './parse.ts';

const keys = (text: string) => {
  const { objects, problems } = parseManifest(text, 'x.yaml');
  expect(problems).toEqual([]);
  return objects.map(
    ({ apiVersion, kind, metadata }) => `${apiVersion} ${kind} ${metadata.namespace ?? '-'}/${metadata.name}`,
  );
};

describe('parseManifest', () => {
  it('reads several documents, comments and empty ones included', () => {
    const text = `# first\n---\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n...\n`;
    expect(keys(text)).toEqual(['v1 Service default/web', 'v1 Node -/n1']);
    expect(keys('')).toEqual([]);
    expect(keys('---\n')).toEqual([]);
  });

  it('reads lists, typed or not, and JSON', () => {
    const list = `apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a, namespace: b}}\n`;
    expect(keys(list)).toEqual(['v1 Service b/a']);
    expect(keys('{"apiVersion":"v1","kind":"ServiceList","items":[{"metadata":{"name":"a"}}]}')).toEqual([
      'v1 Service default/a',
    ]);
    expect(keys('{"apiVersion":"v1","kind":"Service",\n\t"metadata":{"name":"a"}}')).toEqual(['v1 Service default/a']);
  });

  it('reads documents of JSON between markers, with a marker inside a text, and with directives', () => {
    const json = (name: string) => JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name } });
    expect(keys(`${json('a')}\n---\n${json('b')}\n--- ${json('c')}\n`)).toEqual([
      'v1 Service default/a',
      'v1 Service default/b',
      'v1 Service default/c',
    ]);
    const text =
      'apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations:\n    note: |\n      ---\n      x\n';
    expect(keys(text)).toEqual(['v1 Service default/a']);
    expect(keys(`%YAML 1.2\n---\n${text}...\n%YAML 1.2\n---\n${text.replace('name: a', 'name: b')}`)).toEqual([
      'v1 Service default/a',
      'v1 Service default/b',
    ]);
  });

  it('cuts a text where the parser of the whole would', () => {
    const line = fc.constantFrom('---', '--- a', '---b', ' ---', 'x: 1', '- y', '# c', '...', '', '|', '  z');
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
        const text = lines.join('\n');
        const pieces = [...cutDocuments(text)];
        expect(pieces.map((piece) => piece.text).join('')).toBe(text);
        const values = (of: string) => parseAllDocuments(of).flatMap((document) => document.toJS() ?? []);
        const whole = parseAllDocuments(text);
        if (whole.some(({ errors }) => errors.length > 0)) return;
        expect(pieces.flatMap((piece) => values(piece.text))).toEqual(values(text));
        for (const { text: piece, linesBefore } of pieces)
          expect(text.split('\n').slice(linesBefore).join('\n').startsWith(piece)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('drops resourceVersions', () => {
    const { objects } = parseManifest(
      '{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","resourceVersion":"5"}}',
      'x',
    );
    expect(objects[0]?.metadata).toEqual({ name: 'a', namespace: 'default' });
  });

  const bad: readonly (readonly [string, string, number])[] = [
    ['a syntax error', 'apiVersion: v1\nkind: Service\nmetadata: {name: a\n', 4],
    ['broken JSON', '{"apiVersion":"v1",\n"kind":"Service"\n"metadata":{}}', 3],
    ['a missing kind', '# c\n\napiVersion: v1\nmetadata: {name: a}\n', 3],
    [
      'a bad port in the second document',
      'apiVersion: v1\nkind: Node\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{port: 0}]}\n',
      5,
    ],
    [
      'a bad item of a list',
      'apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: a}}\n- {apiVersion: v1, kind: Node}\n',
      5,
    ],
    ['text', 'hello\n', 1],
    ['an unknown alias, by its document', '---\napiVersion: v1\nkind: Service\nmetadata: *nobody\n', 2],
  ];
  it.each(bad)('names the line of %s', (_, text, line) => {
    const { problems } = parseManifest(text, 'x.yaml');
    expect(problems[0]).toMatchObject({ code: 'invalid-manifest', file: 'x.yaml', line });
    expect(problems[0]?.message).toMatch(/^x\.yaml:\d+: ./);
  });

  it('does not let aliases blow up', () => {
    const levels = Array.from({ length: 20 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`);
    const { problems } = parseManifest(`a0: &a0 [x]\n${levels.join('\n')}\n`, 'x.yaml');
    expect(problems.length).toBeGreaterThan(0);
  });

  it('survives absurd nesting', () => {
    for (const text of ['['.repeat(20_000), `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, '- '.repeat(20_000)]) {
      expect(parseManifest(text, 'x').problems.length).toBeGreaterThan(0);
    }
  });

  it('never throws', () => {
    const pieces = fc.constantFrom(
      'apiVersion: v1\n',
      'kind: List\n',
      'items:\n',
      '- ',
      '{',
      '}',
      '[',
      '&a ',
      '*a ',
      '---\n',
      '\t',
      ': ',
      '"',
      '|\n',
      '!!binary x\n',
      '<<: *a\n',
      'metadata:\n  name: x\n',
      '%YAML 9\n',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(pieces).map((list) => list.join('')),
        ),
        (text) => {
          for (const problem of parseManifest(text, 'x').problems) expect(problem).toBeInstanceOf(DiscoveryError);
        },
      ),
      { numRuns: 500 },
    );
  });
});
