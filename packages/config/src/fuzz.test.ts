import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { ConfigError } from './errors.ts';
import { parseAgentConfig, parseServerConfig } from './parse.ts';
import { agentSchema } from './schema/kinds.ts';
import { ORIGINAL_AGENT_FILES } from './testing/original-files.ts';
import { schemaRows } from './walk.ts';

/** Runs it and lets nothing but a ConfigError with problems pass. */
function orConfigError<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error.problems.length).toBeGreaterThan(0);
    for (const { message } of error.problems) expect(message).not.toBe('');
    return undefined;
  }
}

const paths = schemaRows(agentSchema)
  .map(({ path }) => path)
  .filter((path) => !path.includes('[]'));
const wild = fc.oneof(
  fc.anything({ maxDepth: 2 }),
  fc.string(),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constantFrom('', '*', 'auto', 'yes', '1.1.1.1', '::1', 'a:1', '/x'),
);

function nest(path: string, value: unknown): unknown {
  return path.split('.').reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
}

describe('whatever comes', () => {
  it('any text gives a configuration or a ConfigError', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), (text) => {
        orConfigError(() => parseAgentConfig(text));
        orConfigError(() => parseServerConfig(text));
      }),
      { numRuns: 300 },
    );
  });

  it('a real file with characters changed gives a configuration or a ConfigError', () => {
    const real = ORIGINAL_AGENT_FILES['reference/config-items, edgemesh-agent-cfg']!;
    const edit = fc.tuple(
      fc.nat(real.length),
      fc.nat(8),
      fc.constantFrom('', ' ', '\t', '\n', ':', '- ', '&a ', '*a', '{', '[', '"', '<<: ', '|', '\0'),
    );
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        const text = edits.reduce(
          (current, [at, cut, add]) => current.slice(0, at) + add + current.slice(at + cut),
          real,
        );
        orConfigError(() => parseAgentConfig(text));
      }),
      { numRuns: 200 },
    );
  });

  it('any value at any key, in the text and as an override, gives a configuration or a ConfigError', () => {
    fc.assert(
      fc.property(fc.constantFrom(...paths), wild, (path, value) => {
        orConfigError(() => parseAgentConfig('', { overrides: nest(path, value) }));
        const text = JSON.stringify(nest(path, value), (_, member: unknown) =>
          typeof member === 'bigint' ? String(member) : member,
        );
        orConfigError(() => parseAgentConfig(text));
      }),
      { numRuns: 500 },
    );
  });

  it('any object as override or default gives a configuration or a ConfigError', () => {
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withMap: true, withNullPrototype: true, withSparseArray: true }),
        (value) => {
          orConfigError(() => parseAgentConfig('', { overrides: value }));
          orConfigError(() => parseAgentConfig('', { defaults: value }));
          orConfigError(() => parseAgentConfig(value as string));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('a configuration that was accepted is accepted again and stays the same', () => {
    fc.assert(
      fc.property(fc.constantFrom(...paths), wild, (path, value) => {
        const first = orConfigError(() => parseAgentConfig('', { overrides: nest(path, value) }));
        if (first === undefined) return;
        const { kind, ...rest } = first.config;
        expect(parseAgentConfig(stringify({ kind, ...rest })).config).toEqual(first.config);
      }),
      { numRuns: 200 },
    );
  });

  it('an object that throws while it is read is a problem', () => {
    const overrides = {
      get modules() {
        throw new RangeError('trap');
      },
    };
    expect(orConfigError(() => parseAgentConfig('', { overrides }))).toBeUndefined();
  });

  it('an endless object is a problem', () => {
    const overrides: Record<string, unknown> = {};
    overrides.modules = overrides;
    expect(orConfigError(() => parseAgentConfig('', { overrides }))).toBeUndefined();
  });
});
