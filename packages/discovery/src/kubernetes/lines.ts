import { DiscoveryError } from '../errors.ts';

/** Cuts a stream of bytes into lines, wherever its chunks begin and end. Throws `api-too-large` for a line over the limit. */
export function createLineSplitter(maxBytes: number, onLine: (line: string) => void): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let length = 0;
  return (chunk) => {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      parts.push(chunk.subarray(start, end));
      start = end + 1;
      const line = Buffer.concat(parts);
      parts = [];
      length = 0;
      if (line.length > maxBytes) throw tooLarge(maxBytes);
      if (line.length > 0) onLine(line.toString('utf8'));
    }
    if (start === chunk.length) return;
    // a copy, because the chunk may be a window into a large pooled buffer that a partial line would keep alive
    parts.push(Buffer.from(chunk.subarray(start)));
    length += chunk.length - start;
    if (length > maxBytes) throw tooLarge(maxBytes);
  };
}

function tooLarge(maxBytes: number): DiscoveryError {
  return new DiscoveryError('api-too-large', `a watch event exceeds ${maxBytes} bytes`);
}
