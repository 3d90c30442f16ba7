import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import packet, { type DecodedPacket, type OptAnswer, type RecordType } from 'dns-packet';
import type { DnsServer } from '../src/index.ts';

export interface AskOptions {
  readonly tcp?: boolean;
  /** EDNS payload size; absent: no OPT. */
  readonly edns?: number;
  readonly rd?: boolean;
  readonly address?: string;
}

/** A reply as dns-packet, an independent implementation, reads it. */
export interface Reply {
  readonly rcode: string;
  readonly tc: boolean;
  readonly aa: boolean;
  readonly raw: Buffer;
  readonly packet: DecodedPacket;
  /** `name TTL TYPE data` of the answer section. */
  readonly answers: readonly string[];
  readonly authorities: readonly string[];
  readonly additionals: readonly string[];
  readonly opt: OptAnswer | undefined;
}

/** The port of a server's first address. */
export function portOf(server: DnsServer): number {
  return server.addresses[0]?.port as number;
}

export function encodeQuestion(name: string, type: string, options: AskOptions = {}): Buffer {
  const additionals =
    options.edns === undefined
      ? []
      : [
          {
            type: 'OPT' as const,
            name: '.',
            udpPayloadSize: options.edns,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options: [],
          },
        ];
  return packet.encode({
    type: 'query',
    id: Math.floor(Math.random() * 65_536),
    flags: options.rd === false ? 0 : packet.RECURSION_DESIRED,
    questions: [{ name, type: type as RecordType }],
    additionals,
  });
}

/** Asks over a real socket and decodes the answer. */
export async function ask(server: DnsServer, name: string, type: string, options: AskOptions = {}): Promise<Reply> {
  const query = encodeQuestion(name, type, options);
  const [reply] = options.tcp
    ? await tcpExchange(portOf(server), [query])
    : [await udpExchange(portOf(server), query, options.address)];
  return readReply(reply as Buffer);
}

export function readReply(raw: Buffer): Reply {
  const decoded = packet.decode(raw);
  const text = (list: readonly unknown[] | undefined) => (list ?? []).filter(isRecord).map(recordText);
  return {
    rcode: (decoded as unknown as { rcode: string }).rcode,
    tc: decoded.flag_tc,
    aa: decoded.flag_aa,
    raw,
    packet: decoded,
    answers: text(decoded.answers),
    authorities: text(decoded.authorities),
    additionals: text(decoded.additionals),
    opt: decoded.additionals?.find((record) => record.type === 'OPT') as OptAnswer | undefined,
  };
}

interface AnyRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly data: unknown;
}

function isRecord(record: unknown): record is AnyRecord {
  return (record as AnyRecord).type !== 'OPT';
}

function recordText({ name, type, ttl, data }: AnyRecord): string {
  const text = type === 'TXT' ? String(data) : typeof data === 'string' ? data : JSON.stringify(data);
  return `${name} ${ttl} ${type} ${text}`;
}

/** One datagram out, one in. Rejects after a second of silence. */
export function udpExchange(port: number, query: Buffer, address = '127.0.0.1'): Promise<Buffer> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  return new Promise<Buffer>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no answer')), 4_000);
    socket.once('message', (message) => {
      clearTimeout(timer);
      resolve(message);
    });
    socket.once('error', reject);
    socket.send(query, port, address);
  }).finally(() => socket.close());
}

/** Sends framed queries in the given chunks and reads as many replies as there are queries, in order of arrival. */
export function tcpExchange(port: number, queries: readonly Buffer[], chunkBytes = 65_536): Promise<Buffer[]> {
  const framed = Buffer.concat(queries.flatMap((q) => [Buffer.from([q.length >> 8, q.length & 255]), q]));
  const socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  return new Promise<Buffer[]>((resolve, reject) => {
    const replies: Buffer[] = [];
    let held = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
        replies.push(held.subarray(2, 2 + held.readUInt16BE(0)));
        held = held.subarray(2 + held.readUInt16BE(0));
      }
      if (replies.length >= queries.length) resolve(replies);
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`closed after ${replies.length} replies`)));
    const write = (at: number) => {
      if (at >= framed.length) return;
      socket.write(framed.subarray(at, at + chunkBytes), () => setImmediate(write, at + chunkBytes));
    };
    socket.once('connect', () => write(0));
  }).finally(() => socket.destroy());
}
