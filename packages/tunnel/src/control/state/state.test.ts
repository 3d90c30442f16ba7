import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noMetrics, silentLogger, systemClock } from '@edgemesh/core';
import { createRecordingLogger } from '@edgemesh/testkit';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createControlMetrics } from '../metrics.ts';
import { createJsonFile } from './json-file.ts';
import { Pins } from './pins.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgemesh-state-'));
});
afterEach(() => rm(folder, { recursive: true }));

const jsonFile = (path: string | undefined, log = silentLogger) =>
  createJsonFile(path, { log, clock: systemClock, saveDelayMs: 10_000 });
const metrics = createControlMetrics(noMetrics);

async function pinsAt(path: string | undefined, maxPins = 10) {
  const file = jsonFile(path);
  const log = createRecordingLogger();
  return { file, log, pins: await Pins.load({ file, log, metrics, maxPins }) };
}

test('a change is on disk after disposal, for the owner only, with nothing left beside it', async () => {
  const path = join(folder, 'sub', 'x.json');
  await using file = jsonFile(path);
  file.saveSoon(() => ({ a: 0 }));
  file.saveSoon(() => ({ a: 1 }));
  await file[Symbol.asyncDispose]();
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ a: 1 });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(folder, 'sub'))).toEqual(['x.json']);
});

test('a broken file is set aside, reported, and does not stop the start', async () => {
  const path = join(folder, 'x.json');
  await writeFile(path, '{"a":');
  const log = createRecordingLogger();
  await using file = jsonFile(path, log);
  expect(await file.load()).toBeUndefined();
  expect(await readdir(folder)).toEqual(['x.json.broken']);
  expect(log.lines).toHaveLength(1);
});

test('a file that cannot be written is reported and nothing else', async () => {
  await writeFile(join(folder, 'file'), '');
  const log = createRecordingLogger();
  const file = jsonFile(join(folder, 'file', 'x.json'), log);
  file.saveSoon(() => 1);
  await file[Symbol.asyncDispose]();
  expect(log.lines.map((line) => line.level)).toEqual(['warn']);
});

test('a name belongs to the first key that claims it, also after a restart', async () => {
  const path = join(folder, 'pins.json');
  const before = await pinsAt(path);
  expect(before.pins.check('edge-a', 'key-1', 'record')).toBeUndefined();
  await before.file[Symbol.asyncDispose]();
  const { pins } = await pinsAt(path);
  expect(pins.check('edge-a', 'key-2', 'record')).toMatchObject({ code: 'identity' });
  expect(pins.peerOf('edge-a')).toBe('key-1');
});

test('a conflict is reported once to listeners and the log, however often it is tried', async () => {
  const { pins, log } = await pinsAt(undefined);
  const conflicts: unknown[] = [];
  pins.onConflict((conflict) => conflicts.push(conflict));
  pins.check('edge-a', 'key-1', 'record');
  for (let i = 0; i < 3; i++) pins.check('edge-a', 'key-2', 'session');
  expect(conflicts).toEqual([{ nodeName: 'edge-a', pinnedPeerId: 'key-1', claimedPeerId: 'key-2', source: 'session' }]);
  expect(log.lines.filter((line) => line.level === 'error')).toHaveLength(1);
});

test('after an operator forgets a pin the next key gets the name', async () => {
  const { pins } = await pinsAt(undefined);
  pins.check('edge-a', 'key-1', 'record');
  expect(pins.forget('edge-a')).toBe(true);
  expect(pins.forget('edge-a')).toBe(false);
  expect(pins.check('edge-a', 'key-2', 'record')).toBeUndefined();
  expect(pins.peerOf('edge-a')).toBe('key-2');
});

test('beyond the maximum names are used without a pin', async () => {
  const { pins, log } = await pinsAt(undefined, 1);
  pins.check('a', 'key-1', 'record');
  expect(pins.check('b', 'key-2', 'record')).toBeUndefined();
  expect(pins.peerOf('b')).toBeUndefined();
  expect(log.lines.some((line) => line.level === 'warn')).toBe(true);
});
