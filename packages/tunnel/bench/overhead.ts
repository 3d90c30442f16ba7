/**
 * CPU time per gigabyte of one stream through a session, against the same bytes through a bare TLS socket; both ends in this
 * process, no local sockets. The smallest of many short runs counts: it is the one that others disturbed least.
 *
 *   node --conditions=@edgemesh/source bench/overhead.ts [runs]
 */
import { once } from 'node:events';
import { TLSSocket, connect as tlsConnect } from 'node:tls';
import type { ByteStream } from '@edgemesh/core';
import { carrierPair, identities, makeTable, refuseAll, socketPair } from './rig.ts';

const BYTES = 200_000_000;
const CHUNK = 65_536;

/** The user and system time of `work`, in milliseconds per gigabyte. */
async function cost(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / (BYTES / 1e9);
}

async function bareTls(): Promise<() => Promise<void>> {
  const [one, two] = await identities();
  const [a, b] = await socketPair();
  const keys = (identity: typeof one) => ({ cert: identity.tls.certPem, key: identity.tls.keyPem });
  const server = new TLSSocket(b, { isServer: true, ...keys(two), ciphers: 'TLS_AES_128_GCM_SHA256' });
  const client = tlsConnect({ socket: a, rejectUnauthorized: false, ciphers: 'TLS_AES_128_GCM_SHA256' });
  await once(client, 'secureConnect');
  return () =>
    new Promise((resolve) => {
      let got = 0;
      let sent = 0;
      server.removeAllListeners('data');
      server.on('data', (chunk: Buffer) => {
        got += chunk.length;
        if (got >= BYTES) resolve();
      });
      const fill = () => {
        while (sent < BYTES) {
          sent += CHUNK;
          if (!client.write(Buffer.allocUnsafeSlow(CHUNK))) return void client.once('drain', fill);
        }
      };
      fill();
    });
}

async function oneStream(): Promise<() => Promise<void>> {
  const [one, two] = await identities();
  let far: ByteStream | undefined;
  let onData = (_bytes: number): void => undefined;
  const a = makeTable(one, refuseAll);
  // The far end reads and never answers.
  const reader = (): ByteStream => ({
    attach: (sink) => sink.opened?.(),
    write: (chunk) => {
      onData(chunk.length);
      return true;
    },
    end: () => undefined,
    reset: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
  });
  const b = makeTable(two, { ...refuseAll, openStream: () => (far = reader()) });
  const pair = await carrierPair(one, two);
  const session = a.attach(pair.client);
  b.attach(pair.server);
  const stream = session.dial({ address: 'x', port: 1 });
  let drained = (): void => undefined;
  stream.attach({ data: () => undefined, ended: () => undefined, drained: () => drained(), closed: () => undefined });
  return () =>
    new Promise((resolve) => {
      let got = 0;
      let sent = 0;
      onData = (bytes) => {
        got += bytes;
        if (got >= BYTES && far !== undefined) resolve();
      };
      const fill = () => {
        while (sent < BYTES) {
          sent += CHUNK;
          if (!stream.write(Buffer.allocUnsafeSlow(CHUNK))) return;
        }
      };
      drained = fill;
      fill();
    });
}

const ways = { 'bare TLS': await bareTls(), session: await oneStream() };
const best: Record<string, number> = {};
for (let run = 0; run < Number(process.argv[2] ?? 8); run++) {
  for (const [name, work] of Object.entries(ways)) best[name] = Math.min(best[name] ?? Infinity, await cost(work));
}
for (const [name, ms] of Object.entries(best))
  process.stdout.write(`${name.padEnd(10)} ${Math.round(ms)} ms CPU per GB\n`);
process.exit();
