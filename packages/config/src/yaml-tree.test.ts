import { describe, expect, it } from 'vitest';
import { ConfigError } from './errors.ts';
import { MAX_TEXT_BYTES } from './options.ts';
import { parseAgentConfig } from './parse.ts';

function messageOf(text: unknown): string {
  try {
    parseAgentConfig(text as string);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return 'no error';
}

describe('YAML', () => {
  it.each([
    ['a tab as indentation', 'modules:\n\tedgeDNS:\n', 'line 2: this is not YAML'],
    ['a bare star', 'modules:\n  edgeGateway:\n    nic: *\n', 'write "*" in quotes'],
    ['the commas in the original documentation', 'modules:\n  edgeGateway:\n    nic: "lo,eth0",\n', 'remove the comma'],
    ['a template', 'modules:\n  edgeDNS:\n    enable: {{ .Values.x }}\n', 'template'],
    ['two documents', 'modules: {}\n---\nmodules: {}\n', 'line 3: expected one YAML document'],
    ['a list', '- a\n', 'expected an object (key: value); found a list of 1'],
    ['a text', 'hello', 'found the text "hello"'],
    ['an unknown alias', 'modules: *nowhere\n', 'line 1'],
    ['an alias of itself', 'modules: &a\n  edgeDNS: *a\n', 'line 2'],
    ['a structure as key', '? {a: b}\n: c\n', 'expected a name as key'],
    ['a value that is no text', 42, 'expected YAML text, found a value of type number'],
    ['null', null, 'found null'],
    ['a large text', `# ${'x'.repeat(MAX_TEXT_BYTES)}`, `expected at most ${MAX_TEXT_BYTES} bytes`],
    ['deep nesting', `modules: ${'['.repeat(20_000)}${']'.repeat(20_000)}`, 'at most 32 levels'],
    ['nesting beyond the limit', `modules: ${'['.repeat(40)}${']'.repeat(40)}`, 'at most 32 levels'],
    ['a merge of a text', 'modules:\n  <<: hello\n', 'merge key'],
  ])('%s is told as such', (_, text, message) => {
    expect(messageOf(text)).toContain(message);
  });

  it('a key given twice with two values is an error with both lines', () => {
    expect(messageOf('modules:\n  edgeDNS:\n    listenPort: 53\n    ListenPort: 54\n')).toBe(
      'modules.edgeDNS.ListenPort (line 4): expected the key once, found it again with another value, first in line 3',
    );
  });

  it('a file of aliases of aliases is refused before it grows', () => {
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let i = 1; i < 10; i++)
      lines.push(
        `a${i}: &a${i} [${Array(10)
          .fill(`*a${i - 1}`)
          .join(', ')}]`,
      );
    const started = performance.now();
    expect(messageOf(lines.join('\n'))).toContain('values, aliases included');
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it.each([
    ['quotes', '"'.repeat(65_000)],
    ['anchors', '&a '.repeat(21_000)],
    ['brackets', '['.repeat(65_000)],
  ])('as many errors as fit into one line of %s do not take long to tell', (_, text) => {
    // Guards against looking at the whole line once per error: 12 s for 64 KiB of quotes.
    const started = performance.now();
    expect(messageOf(text).split('\n').length).toBeLessThanOrEqual(10);
    expect(performance.now() - started).toBeLessThan(4000);
  });

  it('anchors, aliases and merge keys work; what stands in the map wins', () => {
    const text =
      'x: &base {enable: true, listenPort: 1}\nmodules:\n  edgeDNS: {<<: *base, listenPort: 5353}\n  edgeTunnel: *base\n';
    const { modules } = parseAgentConfig(text).config;
    expect(modules.edgeDNS).toMatchObject({ enable: true, listenPort: 5353 });
    expect(modules.edgeTunnel).toMatchObject({ enable: true, listenPort: 1 });
  });

  it('a byte order mark, CRLF, a trailing document end and a YAML directive do no harm', () => {
    const text = '\uFEFF%YAML 1.2\r\n---\r\nmodules:\r\n  edgeDNS:\r\n    enable: true\r\n...\r\n';
    expect(parseAgentConfig(text).config.modules.edgeDNS.enable).toBe(true);
  });
});
