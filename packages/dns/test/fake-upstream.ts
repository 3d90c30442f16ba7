import { createSocket, type Socket } from 'node:dgram';
import { createServer, type Server } from 'node:net';
import packet, { type Answer, type DecodedPacket } from 'dns-packet';

/** What a fake upstream says: records, or raw bytes, or nothing. */
export interface FakeReply {
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
  readonly rcode?: number;
  /** Sets TC (over UDP only) and leaves the records out. */
  readonly truncated?: boolean;
  /** Bytes that are sent instead. */
  readonly raw?: Buffer;
}

export interface FakeQuestion {
  readonly name: string;
  readonly type: string;
  readonly transport: 'udp' | 'tcp';
  readonly query: DecodedPacket;
  readonly raw: Buffer;
}

/** A resolver on loopback that answers what the test tells it to; `undefined` stays silent. */
export interface FakeUpstream extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Everything but the health probes. */
  readonly asked: readonly FakeQuestion[];
  answer: (question: FakeQuestion) => FakeReply | undefined | Promise<FakeReply | undefined>;
}

/** Answers A questions with 192.0.2.1 and TTL 60 unless told otherwise; probes always get NXDOMAIN. */
export async function createFakeUpstream(port = 0, host = '127.0.0.1'): Promise<FakeUpstream> {
  const asked: FakeQuestion[] = [];
  let closed = false;
  const sockets = new Set<{ destroy(): void }>();
  const { udp, tcp, bound } = await openPair(port, host);
  const handle = async (raw: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> => {
    const query = packet.decode(raw);
    const { name = '', type = '' } = query.questions?.[0] ?? {};
    if (name.endsWith('edgemesh-loop-probe')) return respond(raw, { rcode: 3 }, transport);
    const question = { name, type, transport, query, raw };
    asked.push(question);
    const reply = await upstream.answer(question);
    return reply && respond(raw, reply, transport);
  };
  udp.on('message', (raw, { address, port: to }) => {
    void handle(raw, 'udp').then((reply) => reply && !closed && udp.send(reply, to, address));
  });
  tcp.on('connection', (socket) => {
    let held = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
        const raw = held.subarray(2, 2 + held.readUInt16BE(0));
        held = held.subarray(2 + held.readUInt16BE(0));
        void handle(raw, 'tcp').then((reply) => {
          if (reply) socket.write(Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 255]), reply]));
        });
      }
    });
    sockets.add(socket);
  });
  const upstream = {
    address: host,
    port: bound,
    asked,
    answer: (question: FakeQuestion): FakeReply | undefined | Promise<FakeReply | undefined> =>
      question.type === 'A' ? a(question.name, 60, '192.0.2.1') : nodata(question.name),
    async [Symbol.asyncDispose]() {
      if (closed) return;
      closed = true;
      for (const socket of sockets) socket.destroy();
      await Promise.all([closeUdp(udp), closeTcp(tcp)]);
    },
  };
  return upstream;
}

/** One port for both transports; another one when the kernel's choice for UDP is taken for TCP. */
async function openPair(port: number, host: string): Promise<{ udp: Socket; tcp: Server; bound: number }> {
  for (;;) {
    const udp = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    await new Promise<void>((resolve) => udp.bind(port, host, resolve));
    const bound = udp.address().port;
    const tcp = createServer();
    const free = await new Promise<boolean>((resolve) => {
      tcp.once('error', () => resolve(false));
      tcp.listen(bound, host, () => resolve(true));
    });
    if (free) return { udp, tcp, bound };
    await closeUdp(udp);
  }
}

export function a(name: string, ttl: number, ...addresses: string[]): FakeReply {
  return { answers: addresses.map((data) => ({ type: 'A', name, ttl, data })) };
}

export function soa(ttl: number, minimum: number): Answer {
  return { type: 'SOA', name: 'test', ttl, data: { mname: 'ns.test', rname: 'admin.test', serial: 1, minimum } };
}

export function nodata(_name: string): FakeReply {
  return { authorities: [soa(60, 60)] };
}

function respond(raw: Buffer, reply: FakeReply, transport: 'udp' | 'tcp'): Buffer {
  if (reply.raw !== undefined) {
    const bytes = Buffer.from(reply.raw);
    if (bytes.length >= 2) raw.copy(bytes, 0, 0, 2);
    return bytes;
  }
  const query = packet.decode(raw);
  const cut = reply.truncated === true && transport === 'udp';
  const flags = (reply.rcode ?? 0) | 0x0180 | (cut ? packet.TRUNCATED_RESPONSE : 0);
  return packet.encode({
    type: 'response',
    id: query.id as number,
    flags,
    questions: query.questions ?? [],
    answers: cut ? [] : [...(reply.answers ?? [])],
    authorities: [...(reply.authorities ?? [])],
  });
}

function closeUdp(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.close(() => resolve()));
}

function closeTcp(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
