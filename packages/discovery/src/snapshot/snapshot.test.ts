import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noMetrics } from '@edgemesh/core';
import { createFakeClock, createRecordingLogger } from '@edgemesh/testkit';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiscoveryError } from '../errors.ts';
import { createDiscoveryMetrics } from '../metrics.ts';
import { SNAPSHOT_BYTES_PER_SECOND } from '../options.ts';
import {
  createSnapshotWriter,
  decodeSnapshot,
  encodeSnapshot,
  loadSnapshot,
  type Snapshot,
  writeSnapshot,
} from './index.ts';

const LIMIT = 1 << 20;
let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgemesh-snapshot-'));
  file = join(folder, 'deep', 'catalog.snapshot');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function snapshot(...names: string[]): Snapshot {
  const objects = names.map((name) => ({ apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'a', name } }));
  return {
    savedAt: 1000,
    sections: [{ source: 'kubernetes', kind: 'Service', confirmedAt: 900, count: objects.length, objects }],
  };
}
const text = (value: Snapshot) => [...encodeSnapshot(value)].join('');

describe('the format', () => {
  it('reads back what it writes', () => {
    const section = fc
      .record({
        source: fc.string({ minLength: 1 }),
        kind: fc.string({ minLength: 1 }),
        objects: fc.array(
          fc.record({ apiVersion: fc.string(), kind: fc.string(), metadata: fc.record({ name: fc.string() }) }),
        ),
        confirmedAt: fc.nat(),
      })
      .map((fields) => ({ ...fields, count: fields.objects.length }));
    fc.assert(
      fc.property(fc.record({ savedAt: fc.nat(), sections: fc.array(section, { maxLength: 4 }) }), (value) => {
        expect(decodeSnapshot(text(value))).toEqual(value);
      }),
    );
  });

  it('answers any text with a snapshot or with our error', () => {
    const good = text(snapshot('web', 'db'));
    const damaged = fc
      .tuple(fc.nat(good.length), fc.nat(good.length), fc.string())
      .map(([at, length, put]) => good.slice(0, at) + put + good.slice(at + length));
    fc.assert(
      fc.property(fc.oneof(fc.string(), damaged), (input) => {
        if (input === good) return;
        try {
          decodeSnapshot(input);
          expect.fail('a damaged snapshot was accepted');
        } catch (error) {
          expect(error).toBeInstanceOf(DiscoveryError);
          expect((error as DiscoveryError).code).toMatch(/^snapshot-/);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('the file', () => {
  it('is written whole, for its owner only, with no temporary file left', async () => {
    await writeSnapshot(file, snapshot('web'), LIMIT);
    expect(await loadSnapshot({ file, log: createRecordingLogger() })).toEqual(snapshot('web'));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(folder, 'deep'))).toEqual(['catalog.snapshot']);
  });

  it('over the limit is not written and the last one stays', async () => {
    await writeSnapshot(file, snapshot('web'), LIMIT);
    const many = snapshot(...Array.from({ length: 5000 }, (_, i) => `s${i}`));
    await expect(writeSnapshot(file, many, 10_000)).rejects.toMatchObject({ code: 'snapshot-too-large' });
    expect(await loadSnapshot({ file, log: createRecordingLogger() })).toEqual(snapshot('web'));
    expect(await readdir(join(folder, 'deep'))).toEqual(['catalog.snapshot']);
  });

  it('is nothing when it is missing', async () => {
    const log = createRecordingLogger();
    expect(await loadSnapshot({ file, log })).toBeUndefined();
    expect(log.lines).toEqual([]);
  });

  const broken: readonly (readonly [string, string, string])[] = [
    ['cut off', text(snapshot('web')).slice(0, -20), 'snapshot-corrupt'],
    ['changed', text(snapshot('web')).replace('web', 'wEb'), 'snapshot-corrupt'],
    ['empty', '', 'snapshot-foreign'],
    ['foreign', '#!/bin/sh\n', 'snapshot-foreign'],
    ['of another version', '{"format":"edgemesh-catalog","version":2}\n', 'snapshot-foreign'],
  ];
  it.each(broken)('that is %s is logged, set aside and ignored', async (_, content, code) => {
    const path = join(folder, 'x');
    await writeFile(path, content);
    const log = createRecordingLogger();
    expect(await loadSnapshot({ file: path, log })).toBeUndefined();
    expect(log.lines[0]).toMatchObject({ level: 'warn', fields: { code } });
    expect(await readFile(`${path}.corrupt`, 'utf8')).toBe(content);
    expect(await readdir(folder)).toEqual(['x.corrupt']);
  });

  it('that is too large is not read', async () => {
    const path = join(folder, 'x');
    await writeFile(path, text(snapshot('web')));
    const log = createRecordingLogger();
    expect(await loadSnapshot({ file: path, maxBytes: 10, log })).toBeUndefined();
    expect(log.lines[0]?.fields.code).toBe('snapshot-too-large');
  });
});

describe('the writer', () => {
  function setup(services: readonly string[] = ['web']) {
    const clock = createFakeClock();
    const log = createRecordingLogger();
    const reads: number[] = [];
    const read = () => {
      reads.push(clock.now());
      return snapshot(...services);
    };
    const written = Promise.withResolvers<number>();
    const metrics = {
      ...createDiscoveryMetrics(noMetrics),
      snapshotBytes: { add: () => undefined, set: written.resolve },
    };
    const limits = { debounceMs: 100, maxDelayMs: 1000, refreshMs: 10_000 };
    const writer = createSnapshotWriter({ ...limits, file, read, clock, log, metrics });
    return { clock, log, reads, writer, written: written.promise };
  }
  const settle = () => new Promise((resolve) => setImmediate(resolve));

  it('waits for quiet, but not longer than the largest delay', async () => {
    const { clock, reads, writer } = setup();
    for (let i = 0; i < 30; i++) {
      writer.changed();
      clock.advance(50);
    }
    await settle();
    expect(reads).toHaveLength(1);
    clock.advance(100);
    await settle();
    await writer[Symbol.asyncDispose]();
    expect(await loadSnapshot({ file, log: createRecordingLogger() })).toEqual(snapshot('web'));
  });

  it('writes a large state less often, and at the end all the same', async () => {
    const { clock, reads, writer, written } = setup(Array.from({ length: 8_000 }, (_, i) => `service-${i}`));
    writer.changed();
    clock.advance(100);
    const spareMs = ((await written) * 1_000) / SNAPSHOT_BYTES_PER_SECOND;
    expect(spareMs).toBeGreaterThan(4_000);
    writer.changed();
    clock.advance(spareMs - 100);
    await settle();
    expect(reads).toEqual([100]);
    clock.advance(200);
    await settle();
    expect(reads).toHaveLength(2);
    writer.changed();
    await writer[Symbol.asyncDispose]();
    expect(reads).toHaveLength(3);
  });

  it('rewrites for the age alone only when the file is old', async () => {
    const { clock, reads, writer } = setup();
    writer.refresh();
    clock.advance(5000);
    await settle();
    expect(reads).toEqual([]);
    clock.advance(5000);
    writer.refresh();
    clock.advance(100);
    await settle();
    expect(reads).toEqual([10_100]);
    await writer[Symbol.asyncDispose]();
  });

  it('logs a failure and goes on', async () => {
    const { clock, log, writer } = setup();
    await writeFile(join(folder, 'deep'), 'not a folder');
    writer.changed();
    clock.advance(100);
    await writer[Symbol.asyncDispose]();
    expect(log.lines.some(({ level, message }) => level === 'error' && message === 'snapshot not written')).toBe(true);
  });
});
