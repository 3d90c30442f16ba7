/*
 * A gRPC client that makes every kind of call and prints a GrpcReport: arguments are the address and port of the gateway, the
 * authority to ask for, and a CA's file for TLS.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type CallOptions, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { GrpcReport } from './grpc.ts';
import { ECHO_METHODS, type EchoMessage } from './grpc-methods.ts';

const [target = '', authority = '', caFile] = process.argv.slice(2);
const DEADLINE_MS = 400;
const CALLS = 40;
const CANCELLED_TRIES = 50;

const client = new Client(
  target,
  caFile === undefined ? credentials.createInsecure() : credentials.createSsl(readFileSync(caFile)),
  { 'grpc.default_authority': authority, 'grpc.ssl_target_name_override': authority },
);
const soon = (ms = 15_000): CallOptions => ({ deadline: Date.now() + ms });

interface Answer {
  readonly message?: EchoMessage;
  readonly error?: ServiceError;
  readonly header?: string;
  readonly trailer?: string;
}

function call(name: keyof typeof ECHO_METHODS, message: EchoMessage, options = soon(), path?: string): Promise<Answer> {
  const { path: known, requestSerialize, responseDeserialize } = ECHO_METHODS[name];
  const metadata = new Metadata();
  metadata.set('x-user', 'jo');
  return new Promise((resolve) => {
    let answer: Answer = {};
    const done = (error: ServiceError | null, reply?: EchoMessage) => {
      answer = { ...answer, ...(error && { error }), ...(reply && { message: reply }) };
    };
    const made = client.makeUnaryRequest(
      path ?? known,
      requestSerialize,
      responseDeserialize,
      message,
      metadata,
      options,
      done,
    );
    made.on('metadata', (header: Metadata) => {
      answer = { ...answer, header: String(header.get('x-header')) };
    });
    made.on('status', (end) => resolve({ ...answer, trailer: String(end.metadata.get('x-trailer')) }));
  });
}

function stream(count: number): Promise<number[]> {
  const { path, requestSerialize, responseDeserialize } = ECHO_METHODS.count;
  const seen: number[] = [];
  return new Promise((resolve, reject) => {
    const made = client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { text: '', count },
      soon(),
    );
    made.on('data', (message: EchoMessage) => seen.push(message.count ?? -1));
    made.on('error', reject);
    made.on('end', () => resolve(seen));
  });
}

function chat(words: readonly string[]): Promise<string[]> {
  const { path, requestSerialize, responseDeserialize } = ECHO_METHODS.chat;
  const seen: string[] = [];
  return new Promise((resolve, reject) => {
    const made = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, soon());
    const next = () => {
      const text = words[seen.length];
      if (text === undefined) made.end();
      else made.write({ text });
    };
    made.on('data', (message: EchoMessage) => {
      seen.push(message.text);
      next();
    });
    made.on('error', reject);
    made.on('end', () => resolve(seen));
    next();
  });
}

async function share(): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < CALLS; i++) {
    const { message } = await call('say', { text: '' });
    const server = message?.text.replace(/^.* from /, '') ?? 'nobody';
    counts[server] = (counts[server] ?? 0) + 1;
  }
  return counts;
}

/** Either server may have had the call: asks until one of them knows. */
async function wasCancelled(): Promise<boolean> {
  for (let i = 0; i < CANCELLED_TRIES; i++) {
    const { message } = await call('cancelled', { text: '' });
    if ((message?.count ?? 0) > 0) return true;
    await delay(100);
  }
  return false;
}

async function report(): Promise<GrpcReport> {
  const { message, header, trailer } = await call('say', { text: 'hello' });
  const started = performance.now();
  const late = await call('never', { text: '' }, soon(DEADLINE_MS));
  const ms = Math.round(performance.now() - started);
  const failed = await call('fail', { text: '' });
  const unknown = await call('say', { text: '' }, soon(), '/echo.Echo/Nothing');
  return {
    unary: { text: message?.text ?? '', ...(header && { header }), ...(trailer && { trailer }) },
    stream: await stream(20),
    chat: await chat(['one', 'two', 'three']),
    deadline: { code: late.error?.code ?? 0, ms },
    cancelled: await wasCancelled(),
    failure: {
      code: failed.error?.code ?? 0,
      details: failed.error?.details ?? '',
      ...(failed.trailer && { trailer: failed.trailer }),
    },
    unknownMethod: { code: unknown.error?.code ?? 0 },
    share: await share(),
  };
}

process.stdout.write(`${JSON.stringify(await report())}\n`);
client.close();
