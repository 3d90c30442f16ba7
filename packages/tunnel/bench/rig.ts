/** Two session tables and the means to connect them; shared by tests and benchmarks. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type ByteStream, type Datagrams, MeshError } from '@edgemesh/core';
import { createNodeIdentity, deriveMeshSecrets, type MeshSecrets, type NodeIdentity } from '../src/identity/index.ts';
import {
  createSessionTable,
  type SessionTable,
  type SessionTableOptions,
  secureCarrier,
} from '../src/session/index.ts';
import type { SecureOptions } from '../src/session/secure.ts';
import type { Carrier, InboundHandler, PathKind } from '../src/types.ts';

export const secrets: MeshSecrets = deriveMeshSecrets(['a secret for tests']);

let cached: Promise<[NodeIdentity, NodeIdentity]> | undefined;

/** Two identities, made once, the one with the smaller peer id first (it leads). */
export function identities(): Promise<[NodeIdentity, NodeIdentity]> {
  cached ??= Promise.all([createNodeIdentity(), createNodeIdentity()]).then(([a, b]) =>
    a.peerId < b.peerId ? [a, b] : [b, a],
  );
  return cached;
}

/** Two ends of one TCP connection over loopback. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', noDelay: true });
  const [[accepted]] = (await Promise.all([once(server, 'connection'), once(client, 'connect')])) as [
    [Socket],
    unknown,
  ];
  server.close();
  return [client, accepted];
}

export function secureOptions(
  identity: NodeIdentity,
  role: 'client' | 'server',
  more: Partial<SecureOptions> = {},
): SecureOptions {
  return {
    role,
    path: 'direct',
    identity,
    secrets,
    nodeName: identity.peerId.slice(-6),
    remoteAddress: '127.0.0.1:1',
    pins: () => undefined,
    signal: new AbortController().signal,
    timeoutMs: 5_000,
    ...more,
  };
}

/** A carrier between two identities; the first is the TLS client. */
export async function carrierPair(
  client: NodeIdentity,
  server: NodeIdentity,
  path: PathKind = 'direct',
  pair?: [Socket, Socket],
): Promise<{ client: Carrier; server: Carrier; sockets: [Socket, Socket] }> {
  const sockets = pair ?? (await socketPair());
  const [a, b] = await Promise.all([
    secureCarrier(sockets[0], secureOptions(client, 'client', { path })),
    secureCarrier(sockets[1], secureOptions(server, 'server', { path })),
  ]);
  return { client: a, server: b, sockets };
}

/** An inbound handler that gives each stream to whoever waits for it. */
export interface Acceptor extends InboundHandler {
  nextStream(): Promise<ByteStream>;
  nextDatagrams(): Promise<Datagrams>;
}

/** Refuses everything. */
export const refuseAll: InboundHandler = {
  openStream: () => new MeshError('forbidden', 'nothing is served here'),
  openDatagrams: () => new MeshError('forbidden', 'nothing is served here'),
};

export function makeTable(
  identity: NodeIdentity,
  inbound: InboundHandler,
  more: Partial<SessionTableOptions> = {},
): SessionTable {
  return createSessionTable({ identity, nodeName: identity.peerId.slice(-6), inbound, ...more });
}
