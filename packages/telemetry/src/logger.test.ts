import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLogger, type LoggerOptions } from './logger.ts';
import { MAX_LINE_CHARS } from './options.ts';

const TIME = '2026-01-02T03:04:05.678Z';

function logging(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const log = createLogger({
    level: 'debug',
    write: (line) => lines.push(line),
    clock: { wallNow: () => Date.parse(TIME) },
    ...options,
  });
  return { log, lines };
}

describe('text lines', () => {
  it('have time, level, component, message and fields', () => {
    const { log, lines } = logging();
    log
      .child({ component: 'dns' })
      .warn('upstream is slow', { server: '10.96.0.10:53', ms: 1200, note: 'two words', empty: '', list: ['a', 1] });
    expect(lines).toEqual([
      `${TIME} WARN  dns       upstream is slow server=10.96.0.10:53 ms=1200 note="two words" empty="" list=["a",1]\n`,
    ]);
  });

  it('cannot be forged by what comes from outside', () => {
    const { log, lines } = logging();
    log.info('asked', { name: 'a\n2026 ERROR forged', esc: '\u001b[31m', 'k\ney': 1 });
    log.info('message\nwith line end\u2028');
    expect(lines.join('').match(/\n/g)).toHaveLength(2);
    expect(lines.join('')).not.toContain('\u001b');
  });
});

describe('JSON lines', () => {
  it('are one object with the fields beside the fixed names', () => {
    const { log, lines } = logging({ format: 'json' });
    log.child({ component: 'tunnel' }).error('lost', { peer: 'a', level: 9, error: new Error('why') });
    expect(JSON.parse(lines[0]!)).toEqual({
      time: TIME,
      level: 'error',
      component: 'tunnel',
      message: 'lost',
      peer: 'a',
      'field.level': 9,
      error: 'why',
    });
  });

  it('stay JSON when they are cut', () => {
    const { log, lines } = logging({ format: 'json' });
    log.info('long', Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, 'x'.repeat(2000)])));
    expect(lines[0]!.length).toBeLessThan(MAX_LINE_CHARS);
    expect(JSON.parse(lines[0]!)).toMatchObject({ message: 'long', level: 'info' });
  });

  it('come out of any fields, one line each', () => {
    const { log, lines } = logging({ format: 'json' });
    fc.assert(
      fc.property(
        fc.string(),
        fc.dictionary(
          fc.string(),
          fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true }),
        ),
        (message, fields) => {
          lines.length = 0;
          log.info(message, fields);
          expect(lines).toHaveLength(1);
          expect(lines[0]!.indexOf('\n')).toBe(lines[0]!.length - 1);
          expect(JSON.parse(lines[0]!)).toMatchObject({ level: 'info' });
        },
      ),
    );
  });
});

describe('levels', () => {
  it('below the set one are not written; children follow a change', () => {
    const { log, lines } = logging({ level: 'warn' });
    const child = log.child({ component: 'a' });
    child.info('no');
    log.setLevel('debug');
    child.debug('yes');
    log.setLevel('error');
    child.warn('no');
    expect(lines).toHaveLength(1);
  });
});

describe('secrets', () => {
  it('are not written, wherever they stand and however the name is spelt', () => {
    const { log, lines } = logging({ format: 'json', redact: ['meshKey'] });
    const fields = {
      psk: 's3cret',
      Authorization: 's3cret',
      deep: { 'private-key': 's3cret', list: [{ accessToken: 's3cret' }] },
      mesh_key: 's3cret',
      map: new Map([['password', 's3cret']]),
    };
    log.child({ secret: 's3cret' }).info('x', { ...fields, pskPath: '/etc/psk', token: '' });
    expect(lines[0]).not.toContain('s3cret');
    expect(JSON.parse(lines[0]!)).toMatchObject({ psk: '[redacted]', pskPath: '/etc/psk', token: '' });
  });
});

describe('awkward values', () => {
  it('a circular object, a throwing getter and endless lists do no harm', () => {
    const { log, lines } = logging();
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const trap = {
      get value(): string {
        throw new Error('trap');
      },
    };
    log.info('x', {
      circle,
      trap,
      many: Array.from({ length: 1000 }, (_, i) => i),
      bytes: new Uint8Array(3),
      nan: Number.NaN,
      big: 10n,
      none: undefined,
    });
    expect(lines[0]).toContain('trap=[unreadable]');
    expect(lines[0]).toContain('bytes="[3 bytes]"');
    expect(lines[0]).toContain('big=10');
    expect(lines[0]).not.toContain('none');
  });
});
