import { createHash, type Hash } from 'node:crypto';
import type { KubeObject } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { fieldsOf, isFields, textOf } from '../normalize/read.ts';
import type { Snapshot, SnapshotSection } from './types.ts';

/*
 * Lines of JSON:
 *
 *   {"format":"edgemesh-catalog","version":1,"savedAt":<ms>}
 *   {"source":"kubernetes","kind":"Service","count":2,"confirmedAt":<ms>}
 *   <object>
 *   <object>
 *   {"source":...}                                                          one header per source and kind, its objects follow
 *   {"end":true,"sha256":"<hex of everything above, newlines included>"}
 */
const FORMAT = 'edgemesh-catalog';
const VERSION = 1;

/** The lines of a snapshot, each with its newline; the caller decides when to pause. */
export function* encodeSnapshot(snapshot: Snapshot): Generator<string, void, void> {
  const hash = createHash('sha256');
  const line = (value: unknown) => hashed(hash, `${JSON.stringify(value)}\n`);
  yield line({ format: FORMAT, version: VERSION, savedAt: snapshot.savedAt });
  for (const { source, kind, count, objects, confirmedAt } of snapshot.sections) {
    yield line({ source, kind, count, confirmedAt });
    for (const object of objects) yield line(object);
  }
  yield `${JSON.stringify({ end: true, sha256: hash.digest('hex') })}\n`;
}

function hashed(hash: Hash, text: string): string {
  hash.update(text);
  return text;
}

/**
 * Reads a snapshot. Throws DiscoveryError `snapshot-foreign` for what is no snapshot or of another version, and
 * `snapshot-corrupt` for one that is damaged or cut off.
 */
export function decodeSnapshot(text: string): Snapshot {
  const lines = text.split('\n');
  const header = parse(lines[0] ?? '');
  if (header?.format !== FORMAT) throw new DiscoveryError('snapshot-foreign', 'this is not a catalog snapshot');
  if (header.version !== VERSION)
    throw new DiscoveryError('snapshot-foreign', 'unknown version of the snapshot format');
  // the text ends with a newline, so the last piece is empty and the one before it is the trailer
  const trailer = lines.pop() === '' ? parse(lines.pop() ?? '') : undefined;
  const body = `${lines.join('\n')}\n`;
  if (trailer?.end !== true) throw new DiscoveryError('snapshot-corrupt', 'the snapshot is cut off');
  if (trailer.sha256 !== createHash('sha256').update(body).digest('hex')) {
    throw new DiscoveryError('snapshot-corrupt', 'the checksum of the snapshot is wrong');
  }
  const savedAt = typeof header.savedAt === 'number' && Number.isFinite(header.savedAt) ? header.savedAt : 0;
  return { savedAt, sections: decodeSections(lines) };
}

function decodeSections(lines: readonly string[]): readonly SnapshotSection[] {
  const sections: SnapshotSection[] = [];
  for (let at = 1; at < lines.length; ) {
    const header = parse(lines[at] as string);
    const source = textOf(header?.source);
    const kind = textOf(header?.kind);
    const count = header?.count;
    if (
      source === undefined ||
      kind === undefined ||
      typeof count !== 'number' ||
      !Number.isInteger(count) ||
      count < 0
    ) {
      throw new DiscoveryError('snapshot-corrupt', `line ${at + 1} of the snapshot is not a section`);
    }
    const objects = lines.slice(at + 1, at + 1 + count).map((text) => fieldsOf(parse(text)) as KubeObject);
    if (objects.length !== count) throw new DiscoveryError('snapshot-corrupt', 'a section of the snapshot is cut off');
    const { confirmedAt } = fieldsOf(header);
    sections.push({
      source,
      kind,
      count,
      objects,
      ...(typeof confirmedAt === 'number' && Number.isFinite(confirmedAt) && { confirmedAt }),
    });
    at += 1 + count;
  }
  return sections;
}

function parse(line: string) {
  try {
    const value: unknown = JSON.parse(line);
    return isFields(value) ? value : undefined;
  } catch {
    // not JSON: the caller says what that means at this place
    return undefined;
  }
}
