import { once } from 'node:events';
import { createServer as createHttp1Server } from 'node:http';
import { connect as connectHttp2, createSecureServer } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { type ConnectionOptions, connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { createTestCertificate } from '@edgemesh/testkit/kube';
import { afterEach, describe, expect, it } from 'vitest';
import type { ClusterRef } from './route-model.ts';
import { allTo, clusterOf, endpointAt, startProxy, type TestProxy, tableOf } from './test-support.ts';
import type { TlsConfig, TlsHost } from './tls/tls-config.ts';
import { tlsSnapshot } from './tls/tls-config.ts';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

const a = createTestCertificate(['a.example']);
const wild = createTestCertificate(['*.example']);
const locked = createTestCertificate(['locked.example']);
const user = createTestCertificate(['user']);
const stranger = createTestCertificate(['stranger']);
const hosts: TlsHost[] = [
  { hosts: ['a.example'], ...a },
  { hosts: ['*.example'], ...wild },
  { hosts: ['locked.example'], ...locked, clientCertificate: 'require', ca: user.cert },
];
const table = tableOf({ name: 'all', matches: [], action: { kind: 'respond', status: 200, body: 'hello' } });

async function startTls(tls: () => TlsConfig, more: object = {}): Promise<TestProxy> {
  const proxy = await startProxy(table, {}, { listener: { tls, ...more } });
  open.push(async () => proxy[Symbol.asyncDispose]());
  return proxy;
}

interface Seen {
  readonly subject: string | undefined;
  readonly alpn: string | false | null;
  readonly version: string | null;
  readonly answer: string;
}

/** Connects, asks once over HTTP/1.1, and says what was seen; rejects when the handshake or the answer fails. */
async function visit(port: number, options: ConnectionOptions = {}, host = 'h'): Promise<Seen> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
  return new Promise((resolve, reject) => {
    let answer = '';
    socket.on('secureConnect', () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
    socket.on('data', (chunk: Buffer) => {
      answer += String(chunk);
    });
    socket.on('error', reject);
    socket.on('close', () => {
      if (answer === '') reject(new Error('closed without an answer'));
      else resolve(seen);
    });
    const seen = {
      get subject() {
        return names;
      },
      get alpn() {
        return socket.alpnProtocol;
      },
      get version() {
        return version;
      },
      get answer() {
        return answer;
      },
    };
    let names: string | undefined;
    let version: string | null = null;
    socket.on('secureConnect', () => {
      names = socket.getPeerCertificate().subjectaltname;
      version = socket.getProtocol();
    });
  });
}

describe('certificates', () => {
  it.each([
    ['a.example', 'DNS:a.example'],
    ['A.Example', 'DNS:a.example'],
    ['b.example', 'DNS:*.example'],
    [undefined, 'DNS:a.example'],
  ])('for %s are those of %s', async (servername, subject) => {
    const proxy = await startTls(() => ({ hosts: hosts.slice(0, 2) }));
    const seen = await visit(proxy.port, { ...(servername !== undefined && { servername }) });
    expect(seen).toMatchObject({ subject, answer: expect.stringContaining('hello') });
  });

  it('are missing for unknown names, whose handshake fails', async () => {
    const proxy = await startTls(() => ({ hosts }));
    await expect(visit(proxy.port, { servername: 'other.test' })).rejects.toThrow();
  });

  it('rotate without dropping connections', async () => {
    let config: TlsConfig = { hosts: [{ hosts: ['*'], ...a }] };
    const proxy = await startTls(() => config);
    const kept = connect({ port: proxy.port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(kept, 'secureConnect');
    config = { hosts: [{ hosts: ['*'], ...wild }] };
    expect((await visit(proxy.port)).subject).toBe('DNS:*.example');
    kept.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    expect(String((await once(kept, 'data'))[0])).toContain('200 OK');
    kept.destroy();
  });

  it('that cannot be used are named, and the others work', async () => {
    const config: TlsConfig = {
      hosts: [
        { hosts: ['bad.example'], cert: 'no', key: 'no' },
        { hosts: ['other.example'], cert: a.cert, key: wild.key },
        { hosts: ['noca.example'], ...a, clientCertificate: 'require' },
        { hosts: ['badca.example'], ...a, clientCertificate: 'require', ca: 'no' },
        { hosts: ['a.example'], ...a },
      ],
    };
    expect(tlsSnapshot(config).problems.map((problem) => problem.split(':')[0])).toEqual([
      'TLS for bad.example',
      'TLS for other.example',
      'TLS for noca.example',
      'TLS for badca.example',
    ]);
    const proxy = await startTls(() => config);
    expect((await visit(proxy.port, { servername: 'a.example' })).answer).toContain('hello');
    await expect(visit(proxy.port, { servername: 'noca.example' })).rejects.toThrow();
  });
});

describe('versions', () => {
  it.each([
    [{}, 'TLSv1.2', 'TLSv1.2'],
    [{}, undefined, 'TLSv1.3'],
    [{ maxVersion: 'TLSv1.2' }, undefined, 'TLSv1.2'],
  ] as const)('of %j with a client up to %s are %s', async (host, maxVersion, expected) => {
    const proxy = await startTls(() => ({ hosts: [{ hosts: ['*'], ...a, ...host }] }));
    expect((await visit(proxy.port, { servername: 'x.y', ...(maxVersion && { maxVersion }) })).version).toBe(expected);
  });

  it.each([
    [{}, 'TLSv1.1'],
    [{ minVersion: 'TLSv1.3' }, 'TLSv1.2'],
  ] as const)('of %j refuse a client up to %s', async (host, maxVersion) => {
    const proxy = await startTls(() => ({ hosts: [{ hosts: ['*'], ...a, ...host }] }));
    const old = { maxVersion, minVersion: 'TLSv1' as const, ciphers: 'ALL:@SECLEVEL=0', servername: 'x.y' };
    await expect(visit(proxy.port, old)).rejects.toThrow();
  });

  it('can be older where that is asked for', async () => {
    const proxy = await startTls(() => ({
      hosts: [{ hosts: ['*'], ...a, minVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }],
    }));
    const old = {
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1.1',
      ciphers: 'ALL:@SECLEVEL=0',
      servername: 'x.y',
    } as const;
    expect((await visit(proxy.port, old)).version).toBe('TLSv1.1');
  });
});

describe('client certificates', () => {
  it.each([
    ['the right one', { cert: user.cert, key: user.key }, true],
    ['none', {}, false],
    ['one of another authority', { cert: stranger.cert, key: stranger.key }, false],
  ])('%s', async (_name, certificate, works) => {
    const proxy = await startTls(() => ({ hosts }));
    const visited = visit(proxy.port, { servername: 'locked.example', ...certificate }, 'locked.example');
    if (works) expect((await visited).answer).toContain('hello');
    else await expect(visited).rejects.toThrow();
  });

  it('are not asked for by hosts that need none', async () => {
    const proxy = await startTls(() => ({ hosts }));
    expect(
      (await visit(proxy.port, { servername: 'a.example', cert: stranger.cert, key: stranger.key })).answer,
    ).toContain('hello');
  });

  it('cannot be gone around by naming the host on another connection', async () => {
    const proxy = await startTls(() => ({ hosts }));
    const seen = await visit(proxy.port, { servername: 'a.example' }, 'locked.example');
    expect(seen.answer).toMatch(/^HTTP\/1\.1 421 /);
    expect((await visit(proxy.port, { servername: 'a.example' }, 'b.example')).answer).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('are optional where that is asked for, but never wrong', async () => {
    const proxy = await startTls(() => ({
      hosts: [{ hosts: ['*'], ...a, clientCertificate: 'optional', ca: user.cert }],
    }));
    expect((await visit(proxy.port)).answer).toContain('hello');
    expect((await visit(proxy.port, { cert: user.cert, key: user.key })).answer).toContain('hello');
    await expect(visit(proxy.port, { cert: stranger.cert, key: stranger.key })).rejects.toThrow();
  });
});

describe('ALPN', () => {
  it.each([
    [['h2', 'http/1.1'], {}, 'h2'],
    [['http/1.1'], {}, 'http/1.1'],
    [['http/1.1', 'h2'], { http2: false }, 'http/1.1'],
    [undefined, {}, false],
  ])('of %j with %j gives %j', async (protocols, more, expected) => {
    const proxy = await startTls(() => ({ hosts }), more);
    const socket = connect({
      port: proxy.port,
      host: '127.0.0.1',
      servername: 'a.example',
      rejectUnauthorized: false,
      ...(protocols && { ALPNProtocols: protocols }),
    });
    await once(socket, 'secureConnect');
    expect(socket.alpnProtocol).toBe(expected);
    socket.destroy();
  });

  it('carries HTTP/2', async () => {
    const proxy = await startTls(() => ({ hosts }));
    const session = connectHttp2(`https://127.0.0.1:${proxy.port}`, {
      rejectUnauthorized: false,
      servername: 'a.example',
    });
    const stream = session.request({ ':path': '/' });
    const [headers] = await once(stream, 'response');
    expect(headers[':status']).toBe(200);
    stream.resume();
    await once(stream, 'close');
    session.destroy();
  });
});

describe('handshakes', () => {
  it('that are none, or never end, are closed', async () => {
    const proxy = await startProxy(
      table,
      {},
      { listener: { tls: () => ({ hosts }) }, limits: { handshakeTimeoutMs: 80 } },
    );
    open.push(async () => proxy[Symbol.asyncDispose]());
    for (const text of ['GET / HTTP/1.1\r\nHost: h\r\n\r\n', '\x16\x03\x01\x02\x00\x01\x00', '']) {
      const socket = connectTcp({ port: proxy.port, host: '127.0.0.1' });
      socket.on('error', () => socket.destroy());
      socket.resume();
      socket.write(text, 'latin1');
      await new Promise((resolve) => socket.once('close', resolve));
    }
    await expect.poll(() => proxy.listener.connections).toBe(0);
  });

  it('can be passed through by name, undecrypted', async () => {
    const backend = createTlsServer({ ...wild }, (socket: TLSSocket) => socket.end('from the backend'));
    backend.listen(0, '127.0.0.1');
    await once(backend, 'listening');
    open.push(async () => new Promise((resolve) => backend.close(resolve)));
    const names: (string | undefined)[] = [];
    const proxy = await startTls(() => ({ hosts }), {
      onClientHello(hello: { serverName?: string; alpn: readonly string[] }, socket: import('node:net').Socket) {
        names.push(hello.serverName, ...hello.alpn);
        if (hello.serverName !== 'through.example') return false;
        const upstream = connectTcp((backend.address() as AddressInfo).port, '127.0.0.1');
        socket.pipe(upstream).pipe(socket);
        return true;
      },
    });
    const socket = connect({
      port: proxy.port,
      host: '127.0.0.1',
      servername: 'through.example',
      rejectUnauthorized: false,
      ALPNProtocols: ['x'],
    });
    expect(String((await once(socket, 'data'))[0])).toBe('from the backend');
    socket.destroy();
    expect((await visit(proxy.port, { servername: 'a.example' })).answer).toContain('hello');
    expect(names).toEqual(['through.example', 'x', 'a.example']);
  });
});

describe('TLS to endpoints', () => {
  const backendCertificate = createTestCertificate(['backend.svc']);
  const secure = (tls: NonNullable<ClusterRef['tls']>, protocol: ClusterRef['protocol'] = 'http1'): ClusterRef => ({
    ...clusterOf('b', protocol),
    tls,
  });

  async function httpsBackend(): Promise<number> {
    const server = createHttpsServer(backendCertificate, (_req, res) => void res.end('secure'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    open.push(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return (server.address() as AddressInfo).port;
  }

  it.each([
    ['the right name and authority', { serverName: 'backend.svc', ca: backendCertificate.cert }, 200],
    ['no name to compare', { ca: backendCertificate.cert }, 200],
    ['no verification', { insecureSkipVerify: true }, 200],
    ['another name', { serverName: 'other.svc', ca: backendCertificate.cert }, 502],
    ['another authority', { serverName: 'backend.svc', ca: user.cert }, 502],
    ['an unreadable CA', { ca: 'nonsense' }, 502],
  ])('with %s answers %i', async (_name, tls, status) => {
    const port = await httpsBackend();
    const proxy = await startProxy(allTo(secure(tls)), { b: [endpointAt(port)] });
    open.push(async () => proxy[Symbol.asyncDispose]());
    const response = await fetch(`http://127.0.0.1:${proxy.port}/`);
    expect([response.status, await response.text()]).toEqual([status, status === 200 ? 'secure' : expect.any(String)]);
  });

  it('speaks HTTP/2 where the cluster does', async () => {
    const server = createSecureServer(backendCertificate);
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200 });
      stream.end('h2');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    open.push(async () => {
      server.close();
    });
    const cluster = secure({ serverName: 'backend.svc', ca: backendCertificate.cert }, 'h2');
    const proxy = await startProxy(allTo(cluster), { b: [endpointAt((server.address() as AddressInfo).port)] });
    open.push(async () => proxy[Symbol.asyncDispose]());
    expect(await (await fetch(`http://127.0.0.1:${proxy.port}/`)).text()).toBe('h2');
  });

  it('with an endpoint that speaks none is a 502', async () => {
    const server = createHttp1Server((_req, res) => void res.end());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    open.push(async () => new Promise((resolve) => server.close(resolve)));
    const proxy = await startProxy(allTo(secure({ insecureSkipVerify: true })), {
      b: [endpointAt((server.address() as AddressInfo).port)],
    });
    open.push(async () => proxy[Symbol.asyncDispose]());
    expect((await fetch(`http://127.0.0.1:${proxy.port}/`)).status).toBe(502);
  });
});
