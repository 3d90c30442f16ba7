import { type ByteStream, type Datagrams, type MeshError, writeBorrowed } from '@edgemesh/core';

/** Longest that a test waits for something to happen, in milliseconds. */
const PATIENCE_MS = 5_000;

/** Waits for conditions over a record that changes now and then. */
class Waiters {
  private waiting: { test: () => boolean; resolve: () => void }[] = [];

  notify(): void {
    this.waiting = this.waiting.filter((waiter) => {
      if (!waiter.test()) return true;
      waiter.resolve();
      return false;
    });
  }

  /** Resolves once `test` holds; rejects with the record's story when it does not come true in time. */
  until(test: () => boolean, what: string, story: () => string): Promise<void> {
    if (test()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}; so far: ${story()}`)), PATIENCE_MS);
      this.waiting.push({
        test,
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
      });
    });
  }
}

/** A call on a byte sink. */
export type StreamEvent = 'opened' | 'data' | 'ended' | 'drained' | 'closed';

/** A stream under observation: passes calls on and keeps what the stream said, and what it said against the contract. */
export interface RecordedStream {
  readonly stream: ByteStream;
  /** What was called on the sink, consecutive `data` calls as one entry. */
  readonly events: readonly StreamEvent[];
  readonly chunks: readonly Uint8Array[];
  readonly receivedBytes: number;
  readonly ended: boolean;
  readonly closed: boolean;
  readonly error: MeshError | undefined;
  /** How often `write` answered false, and how often `drained` came. */
  readonly falseWrites: number;
  readonly drains: number;
  /** Breaches of the contract that need no particular test to be seen. */
  readonly violations: readonly string[];
  write(chunk: Uint8Array | string): boolean;
  end(): void;
  reset(error?: MeshError): void;
  pause(): void;
  resume(): void;
  /** Everything received so far, as one buffer or as text. */
  bytes(): Buffer;
  text(): string;
  until(test: (record: RecordedStream) => boolean, what: string): Promise<void>;
  untilClosed(): Promise<void>;
  /** Writes all chunks, waiting for `drained` where told to. Rejects when the stream closes first. */
  pump(chunks: Iterable<Uint8Array>): Promise<void>;
}

/** What a recording sink does besides recording. */
export interface RecordOptions {
  /** Called for each chunk, after it has been recorded. */
  readonly onData?: (chunk: Uint8Array, record: RecordedStream) => void;
  readonly onEnded?: (record: RecordedStream) => void;
}

/** Every second write is of borrowed bytes: what becomes of their memory afterwards must not matter. */
function lend(stream: ByteStream, bytes: Uint8Array): boolean {
  const memory = Uint8Array.from(bytes);
  const ok = writeBorrowed(stream, memory);
  memory.fill(0xee);
  return ok;
}

/** Attaches a recording sink to a stream. */
export function recordStream(stream: ByteStream, options: RecordOptions = {}): RecordedStream {
  const waiters = new Waiters();
  const events: StreamEvent[] = [];
  const chunks: Uint8Array[] = [];
  const violations: string[] = [];
  let receivedBytes = 0;
  let error: MeshError | undefined;
  let falseWrites = 0;
  let drains = 0;
  let writes = 0;
  let inCall: string | undefined;
  let paused = false;
  const has = (event: StreamEvent) => events.includes(event);
  const story = () => `${events.join(' ')} (${receivedBytes} bytes${error ? `, ${error.code}` : ''})`;
  const note = (event: StreamEvent) => {
    if (has('closed')) violations.push(`${event} after closed`);
    if (inCall !== undefined && !(event === 'closed' && inCall === 'reset'))
      violations.push(`${event} inside ${inCall}`);
    if (event !== 'data' || events.at(-1) !== 'data') events.push(event);
  };
  const during = <T>(name: string, run: () => T): T => {
    const before = inCall;
    inCall = name;
    try {
      return run();
    } finally {
      inCall = before;
    }
  };
  const record: RecordedStream = {
    stream,
    events,
    chunks,
    violations,
    get receivedBytes() {
      return receivedBytes;
    },
    get ended() {
      return has('ended');
    },
    get closed() {
      return has('closed');
    },
    get error() {
      return error;
    },
    get falseWrites() {
      return falseWrites;
    },
    get drains() {
      return drains;
    },
    write(chunk) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      const ok = during('write', () => (writes++ % 2 === 0 ? stream.write(bytes) : lend(stream, bytes)));
      if (!ok) falseWrites++;
      return ok;
    },
    end: () => during('end', () => stream.end()),
    reset: (reason) => during('reset', () => stream.reset(reason)),
    pause() {
      paused = true;
      during('pause', () => stream.pause());
    },
    resume() {
      paused = false;
      during('resume', () => stream.resume());
    },
    bytes: () => Buffer.concat(chunks),
    text: () => Buffer.concat(chunks).toString(),
    until: (test, what) => waiters.until(() => test(record), what, story),
    untilClosed: () => waiters.until(() => has('closed'), 'closed', story),
    async pump(source) {
      for (const chunk of source) {
        const before = drains;
        if (!record.write(chunk))
          await waiters.until(() => drains > before || has('closed'), 'drained or closed', story);
        if (has('closed')) throw new Error(`closed while writing: ${story()}`);
      }
    },
  };
  stream.attach({
    opened() {
      if (has('opened')) violations.push('opened twice');
      if (has('data') || has('ended')) violations.push('opened after data or ended');
      note('opened');
      waiters.notify();
    },
    data(chunk) {
      if (paused) violations.push('data while paused');
      if (has('ended')) violations.push('data after ended');
      if (chunk.length === 0) violations.push('empty data');
      note('data');
      chunks.push(chunk);
      receivedBytes += chunk.length;
      options.onData?.(chunk, record);
      waiters.notify();
    },
    ended() {
      if (has('ended')) violations.push('ended twice');
      note('ended');
      options.onEnded?.(record);
      waiters.notify();
    },
    drained() {
      drains++;
      if (drains > falseWrites) violations.push('drained without a write that answered false');
      note('drained');
      waiters.notify();
    },
    closed(reason) {
      note('closed');
      error = reason;
      waiters.notify();
    },
  });
  return record;
}

/** A datagram channel under observation. */
export interface RecordedDatagrams {
  readonly channel: Datagrams;
  readonly messages: readonly Uint8Array[];
  readonly closed: boolean;
  readonly error: MeshError | undefined;
  readonly violations: readonly string[];
  send(payload: Uint8Array | string): boolean;
  close(error?: MeshError): void;
  until(test: (record: RecordedDatagrams) => boolean, what: string): Promise<void>;
  untilClosed(): Promise<void>;
}

/** Attaches a recording sink to a datagram channel. */
export function recordDatagrams(
  channel: Datagrams,
  onMessage?: (payload: Uint8Array, record: RecordedDatagrams) => void,
): RecordedDatagrams {
  const waiters = new Waiters();
  const messages: Uint8Array[] = [];
  const violations: string[] = [];
  let closed = false;
  let error: MeshError | undefined;
  const story = () => `${messages.length} messages${closed ? `, closed ${error?.code ?? 'in order'}` : ''}`;
  const record: RecordedDatagrams = {
    channel,
    messages,
    violations,
    get closed() {
      return closed;
    },
    get error() {
      return error;
    },
    send: (payload) => channel.send(typeof payload === 'string' ? Buffer.from(payload) : payload),
    close: (reason) => channel.close(reason),
    until: (test, what) => waiters.until(() => test(record), what, story),
    untilClosed: () => waiters.until(() => closed, 'closed', story),
  };
  channel.attach({
    message(payload) {
      if (closed) violations.push('message after closed');
      messages.push(payload);
      onMessage?.(payload, record);
      waiters.notify();
    },
    closed(reason) {
      if (closed) violations.push('closed twice');
      closed = true;
      error = reason;
      waiters.notify();
    },
  });
  return record;
}
