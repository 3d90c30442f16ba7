import {
  type ByteSink,
  type ByteStream,
  type DatagramSink,
  type Datagrams,
  MeshError,
  writeBorrowed,
} from '@edgemesh/core';

/** Early bytes that a stream holds before it is bound; then `write` says stop. */
const EARLY_HIGH_WATER_BYTES = 64 * 1024;
/** Early datagrams held before the channel is bound; more are dropped, as UDP would. */
const MAX_EARLY_DATAGRAMS = 64;
/** Largest payload that UDP over IPv4 can carry; nothing bigger is worth keeping. */
const MAX_DATAGRAM_BYTES = 65_507;

/** A byte stream whose real stream comes later: it keeps what is written early and passes it on when bound. */
export interface DeferredStream extends ByteStream {
  bind(stream: ByteStream): void;
  fail(error: MeshError): void;
}

export function createDeferredStream(): DeferredStream {
  let target: ByteStream | undefined;
  let sink: ByteSink | undefined;
  let early: Uint8Array[] = [];
  let earlyBytes = 0;
  let ended = false;
  let paused = false;
  let failure: { error: MeshError | undefined } | undefined;
  const finish = (error: MeshError | undefined) => {
    if (failure !== undefined) return;
    failure = { error };
    early = [];
    sink?.closed(error);
  };
  const connect = () => {
    if (target === undefined || sink === undefined) return;
    const stream = target;
    if (paused) stream.pause();
    let roomy = true;
    for (const chunk of early) roomy = stream.write(chunk);
    const wasFull = earlyBytes >= EARLY_HIGH_WATER_BYTES;
    early = [];
    earlyBytes = 0;
    if (ended) stream.end();
    stream.attach(sink);
    if (wasFull && roomy) sink.drained();
  };
  return {
    attach(s) {
      sink = s;
      if (failure !== undefined) queueMicrotask(() => s.closed(failure?.error));
      else connect();
    },
    write(chunk) {
      if (target !== undefined && sink !== undefined) return target.write(chunk);
      if (ended || failure !== undefined) return true;
      early.push(chunk);
      earlyBytes += chunk.length;
      return earlyBytes < EARLY_HIGH_WATER_BYTES;
    },
    writeCopy(chunk) {
      if (target !== undefined && sink !== undefined) return writeBorrowed(target, chunk);
      return this.write(Buffer.from(chunk));
    },
    end() {
      ended = true;
      if (target !== undefined && sink !== undefined) target.end();
    },
    reset(error) {
      if (target !== undefined && sink !== undefined) target.reset(error);
      else {
        target?.reset(error);
        finish(error ?? new MeshError('aborted', 'the stream was reset before it was connected'));
      }
    },
    pause() {
      paused = true;
      if (sink !== undefined) target?.pause();
    },
    resume() {
      paused = false;
      if (sink !== undefined) target?.resume();
    },
    bind(stream) {
      if (failure !== undefined) stream.reset();
      else {
        target = stream;
        connect();
      }
    },
    fail: finish,
  };
}

/** A datagram channel whose real channel comes later. */
export interface DeferredDatagrams extends Datagrams {
  bind(channel: Datagrams): void;
  fail(error: MeshError): void;
}

export function createDeferredDatagrams(): DeferredDatagrams {
  let target: Datagrams | undefined;
  let sink: DatagramSink | undefined;
  let early: Uint8Array[] = [];
  let failure: { error: MeshError | undefined } | undefined;
  const finish = (error: MeshError | undefined) => {
    if (failure !== undefined) return;
    failure = { error };
    early = [];
    sink?.closed(error);
  };
  const connect = () => {
    if (target === undefined || sink === undefined) return;
    target.attach(sink);
    for (const payload of early) target.send(payload);
    early = [];
  };
  return {
    attach(s) {
      sink = s;
      if (failure !== undefined) queueMicrotask(() => s.closed(failure?.error));
      else connect();
    },
    send(payload) {
      if (target !== undefined && sink !== undefined) return target.send(payload);
      if (failure !== undefined || early.length >= MAX_EARLY_DATAGRAMS || payload.length > MAX_DATAGRAM_BYTES)
        return false;
      early.push(payload);
      return true;
    },
    sendCopy(payload) {
      if (target?.sendCopy !== undefined && sink !== undefined) return target.sendCopy(payload);
      return this.send(Uint8Array.from(payload));
    },
    close(error) {
      if (target !== undefined && sink !== undefined) target.close(error);
      else {
        target?.close(error);
        finish(error);
      }
    },
    bind(channel) {
      if (failure !== undefined) channel.close();
      else {
        target = channel;
        connect();
      }
    },
    fail: finish,
  };
}
