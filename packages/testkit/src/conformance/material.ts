import { createHash, randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { RecordedStream } from './recorders.ts';

/** Bytes. */
export const MIB = 1 << 20;

/** Chunks of very different sizes that add up to `total`, and their hash. */
export function material(total: number): { chunks: Uint8Array[]; hash: string } {
  const sizes = [1, 17, 65_536, 1_400, 300_000, 4_096, 8];
  const chunks: Uint8Array[] = [];
  const hash = createHash('sha256');
  for (let done = 0, i = 0; done < total; i++) {
    const chunk = randomBytes(Math.min(sizes[i % sizes.length] as number, total - done));
    hash.update(chunk);
    chunks.push(chunk);
    done += chunk.length;
  }
  return { chunks, hash: hash.digest('hex') };
}

/** Of what has arrived. */
export const sha256 = (record: RecordedStream) => createHash('sha256').update(record.bytes()).digest('hex');

/** Writes until a write is held back for good. Returns the bytes written, at most `limit`. */
export async function fill(writer: RecordedStream, limit: number): Promise<number> {
  const chunk = Buffer.alloc(65_536, 7);
  let written = 0;
  while (written < limit) {
    written += chunk.length;
    if (writer.write(Buffer.from(chunk))) continue;
    const before = writer.drains;
    // No event tells that nothing will happen: give the far side many turns of the loop.
    for (let i = 0; i < 200 && writer.drains === before; i++) await turn();
    if (writer.drains === before) return written;
  }
  return written;
}
