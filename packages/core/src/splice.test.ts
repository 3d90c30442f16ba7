import { describe, expect, it } from 'vitest';
import { MeshError } from './errors.ts';
import { type DatagramSpliceResult, type SpliceResult, splice, spliceDatagrams } from './splice.ts';
import type { ByteSink, ByteStream, DatagramSink, Datagrams } from './stream.ts';

/** A stream driven by hand: records what is asked of it, and `sink` speaks for the far side. */
function manualStream() {
  const calls: string[] = [];
  let sink: ByteSink | undefined;
  let closed = false;
  const stream: ByteStream & { calls: string[]; readonly sink: ByteSink; full: boolean } = {
    calls,
    full: false,
    get sink() {
      return sink as ByteSink;
    },
    attach(given) {
      sink = given;
    },
    write(chunk) {
      calls.push(`write ${new TextDecoder().decode(chunk)}`);
      return !stream.full;
    },
    end: () => void calls.push('end'),
    reset(error) {
      if (closed) return;
      closed = true;
      calls.push(`reset ${error?.code}`);
      sink?.closed(error ?? new MeshError('aborted', 'aborted'));
    },
    pause: () => void calls.push('pause'),
    resume: () => void calls.push('resume'),
  };
  return stream;
}

function manualDatagrams() {
  const sent: number[] = [];
  let sink: DatagramSink | undefined;
  let closed = false;
  const channel: Datagrams & { sent: number[]; readonly sink: DatagramSink; full: boolean } = {
    sent,
    full: false,
    get sink() {
      return sink as DatagramSink;
    },
    attach(given) {
      sink = given;
    },
    send(payload) {
      if (channel.full || closed) return false;
      sent.push(payload.length);
      return true;
    },
    close(error) {
      if (closed) return;
      closed = true;
      sink?.closed(error);
    },
  };
  return channel;
}

const bytes = (text: string) => new TextEncoder().encode(text);

function spliced() {
  const a = manualStream();
  const b = manualStream();
  const results: SpliceResult[] = [];
  splice(a, b, (result) => results.push(result));
  return { a, b, results };
}

describe('splice', () => {
  it('passes data both ways in order and counts it', () => {
    const { a, b, results } = spliced();
    a.sink.data(bytes('one'));
    a.sink.data(bytes('two'));
    b.sink.data(bytes('answer'));
    expect(b.calls).toEqual(['write one', 'write two']);
    expect(a.calls).toEqual(['write answer']);
    a.sink.ended();
    b.sink.ended();
    a.sink.closed();
    b.sink.closed();
    expect(results).toEqual([{ bytesAtoB: 6, bytesBtoA: 6 }]);
  });

  it('pauses the source when the target is full and resumes it when the target has drained', () => {
    const { a, b } = spliced();
    b.full = true;
    a.sink.data(bytes('x'));
    expect(a.calls).toEqual(['pause']);
    b.sink.drained();
    expect(a.calls).toEqual(['pause', 'resume']);
    expect(b.calls).toEqual(['write x']);
  });

  it('ends one direction and keeps the other open', () => {
    const { a, b, results } = spliced();
    a.sink.ended();
    expect(b.calls).toEqual(['end']);
    b.sink.data(bytes('late'));
    expect(a.calls).toEqual(['write late']);
    expect(results).toEqual([]);
  });

  it.each(['a', 'b'] as const)('resets the other stream with the error of %s and reports it once', (side) => {
    const { a, b, results } = spliced();
    const [broken, other] = side === 'a' ? [a, b] : [b, a];
    const error = new MeshError('session-lost', 'gone');
    broken.sink.closed(error);
    broken.sink.closed(error);
    expect(other.calls).toEqual(['reset session-lost']);
    expect(results).toEqual([{ bytesAtoB: 0, bytesBtoA: 0, error, failed: side }]);
  });

  it('aborts a peer that still sends to a stream which closed in order', () => {
    const { a, b, results } = spliced();
    a.sink.closed();
    expect(b.calls).toEqual(['end', 'reset aborted']);
    expect(results[0]?.error?.code).toBe('aborted');
    expect(results[0]?.failed).toBe('b');
  });

  it('lets a paused peer run to its end when the full stream closes in order', () => {
    const { a, b } = spliced();
    b.full = true;
    a.sink.data(bytes('x'));
    a.sink.ended();
    b.sink.ended();
    b.sink.closed();
    expect(a.calls).toEqual(['pause', 'end', 'resume']);
  });
});

describe('spliceDatagrams', () => {
  it('keeps borders, counts what is dropped, and closes the other channel', () => {
    const a = manualDatagrams();
    const b = manualDatagrams();
    const results: DatagramSpliceResult[] = [];
    spliceDatagrams(a, b, (result) => results.push(result));
    a.sink.message(new Uint8Array(0));
    a.sink.message(new Uint8Array(65_507));
    b.sink.message(new Uint8Array(3));
    b.full = true;
    a.sink.message(new Uint8Array(9));
    expect([a.sent, b.sent]).toEqual([[3], [0, 65_507]]);
    const error = new MeshError('unreachable', 'gone');
    b.sink.closed(error);
    expect(results).toEqual([
      { datagramsAtoB: 2, datagramsBtoA: 1, bytesAtoB: 65_507, bytesBtoA: 3, dropped: 1, error, failed: 'b' },
    ]);
  });
});
