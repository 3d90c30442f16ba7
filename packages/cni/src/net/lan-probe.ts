import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type Clock, type Logger, silentLogger, systemClock, type Timer } from '@edgemesh/core';
import { NETWORK_DEFAULTS } from '../options.ts';
import type { LanProbePort } from './types.ts';

/*
 * Two datagrams prove that the node of this name answers at this address, and nobody else does (every home network has a
 * 192.168.1.10):
 *
 *   +------------------+---------+-----------+-------------+---------------+-----------------------+
 *   | 'EMLP' (4 bytes) | kind(1) | nonce(16) | length(1)   | node name     | HMAC-SHA256 (32)      |
 *   +------------------+---------+-----------+-------------+---------------+-----------------------+
 *
 * kind 1 asks "are you <node name>?", kind 2 answers "I am <node name>" with the same nonce. The HMAC is keyed by the mesh and
 * covers what is in front of it; a datagram without a good one is ignored.
 */
const MAGIC = Buffer.from('EMLP');
const NONCE_BYTES = 16;
const MAC_BYTES = 32;
const NAME_AT = MAGIC.length + 1 + NONCE_BYTES + 1;
type Kind = 1 | 2;

/** Encodes one probe datagram. */
export function encodeProbe(kind: Kind, nonce: Uint8Array, nodeName: string, key: Uint8Array): Buffer {
  const name = Buffer.from(nodeName).subarray(0, 255);
  const body = Buffer.concat([MAGIC, Buffer.of(kind), nonce, Buffer.of(name.length), name]);
  return Buffer.concat([body, createHmac('sha256', key).update(body).digest()]);
}

/** Decodes a probe datagram; undefined for anything else, a wrong key included. */
export function decodeProbe(
  bytes: Buffer,
  key: Uint8Array,
): { readonly kind: Kind; readonly nonce: string; readonly nodeName: string } | undefined {
  const length = bytes[NAME_AT - 1];
  if (length === undefined || bytes.length !== NAME_AT + length + MAC_BYTES) return undefined;
  const kind = bytes[MAGIC.length];
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC) || (kind !== 1 && kind !== 2)) return undefined;
  const body = bytes.subarray(0, NAME_AT + length);
  if (!timingSafeEqual(createHmac('sha256', key).update(body).digest(), bytes.subarray(body.length))) return undefined;
  const nonce = bytes.toString('hex', MAGIC.length + 1, MAGIC.length + 1 + NONCE_BYTES);
  return { kind, nonce, nodeName: bytes.toString('utf8', NAME_AT, NAME_AT + length) };
}

export interface LanProbeOptions {
  readonly nodeName: string;
  /** Key of the mesh, 32 bytes; the same on every node. */
  readonly key: Uint8Array;
  /** UDP port, the same on every node. */
  readonly port: number;
  readonly intervalMs?: number;
  readonly log?: Logger;
  readonly clock?: Clock;
}

export interface LanProbe extends LanProbePort, AsyncDisposable {
  readonly port: number;
}

interface Target {
  readonly nodeName: string;
  readonly address: string;
  nonce: string;
  /** Probes since the last answer. */
  unanswered: number;
  up: boolean;
}

/** Asks nodes that seem to be on our subnets whether they are, again and again, and answers those who ask. */
export async function createLanProbe(options: LanProbeOptions): Promise<LanProbe> {
  const sockets = new Map<4 | 6, Socket>();
  for (const family of [4, 6] as const) {
    const socket = await bind(family, options.port).catch((error: unknown) => {
      if (family === 4) throw error;
      return undefined; // a host without IPv6
    });
    if (socket !== undefined) sockets.set(family, socket);
  }
  return new UdpLanProbe(options, sockets);
}

async function bind(family: 4 | 6, port: number): Promise<Socket> {
  const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', ipv6Only: family === 6 });
  socket.bind(port, family === 4 ? '0.0.0.0' : '::');
  await once(socket, 'listening');
  return socket;
}

class UdpLanProbe implements LanProbe {
  readonly port: number;
  readonly #options: LanProbeOptions;
  readonly #sockets: ReadonlyMap<4 | 6, Socket>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  #targets = new Map<string, Target>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: LanProbeOptions, sockets: ReadonlyMap<4 | 6, Socket>) {
    this.#options = options;
    this.#sockets = sockets;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLogger;
    this.port = sockets.get(4)?.address().port ?? options.port;
    for (const socket of sockets.values()) {
      socket.on('message', (bytes, from) => this.#onMessage(bytes, from, socket));
      socket.on('error', (error) => this.#log.warn('probing the LAN failed', { error: error.message }));
    }
    this.#round();
  }

  watch(targets: ReadonlyMap<string, readonly string[]>): void {
    const next = new Map<string, Target>();
    for (const [nodeName, addresses] of targets) {
      for (const address of addresses) {
        const key = `${nodeName} ${address}`;
        next.set(key, this.#targets.get(key) ?? { nodeName, address, nonce: '', unanswered: 0, up: false });
      }
    }
    const fresh = [...next].filter(([key]) => !this.#targets.has(key));
    this.#targets = next;
    for (const [, target] of fresh) this.#ask(target);
  }

  reachable(nodeName: string): readonly string[] {
    return [...this.#targets.values()].filter((one) => one.up && one.nodeName === nodeName).map((one) => one.address);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #round(): void {
    let changed = false;
    for (const target of this.#targets.values()) {
      if (target.up && target.unanswered >= NETWORK_DEFAULTS.probeFailures) {
        target.up = false;
        changed = true;
      }
      this.#ask(target);
    }
    if (changed) this.#tell();
    const { intervalMs = NETWORK_DEFAULTS.probeIntervalMs } = this.#options;
    if (!this.#closed) this.#timer = this.#clock.after(intervalMs, () => this.#round());
  }

  #ask(target: Target): void {
    const nonce = randomBytes(NONCE_BYTES);
    target.nonce = nonce.toString('hex');
    target.unanswered++;
    const socket = this.#sockets.get(target.address.includes(':') ? 6 : 4);
    // An unreachable neighbour is an error here, and an unanswered probe all the same.
    socket?.send(encodeProbe(1, nonce, target.nodeName, this.#options.key), this.port, target.address, () => undefined);
  }

  #onMessage(bytes: Buffer, from: RemoteInfo, socket: Socket): void {
    const message = decodeProbe(bytes, this.#options.key);
    if (message === undefined) return;
    if (message.kind === 1) {
      if (message.nodeName !== this.#options.nodeName) return;
      const answer = encodeProbe(2, Buffer.from(message.nonce, 'hex'), message.nodeName, this.#options.key);
      socket.send(answer, from.port, from.address, () => undefined);
      return;
    }
    for (const target of this.#targets.values()) {
      if (target.nonce !== message.nonce || target.nodeName !== message.nodeName) continue;
      target.unanswered = 0;
      target.nonce = '';
      if (target.up) return;
      target.up = true;
      this.#tell();
      return;
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    await Promise.all(
      [...this.#sockets.values()].map(async (socket) => {
        socket.close();
        await once(socket, 'close');
      }),
    );
  }
}
