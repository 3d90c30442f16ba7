import { createServer, type Server } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import type { Dialer, DialTarget, Endpoint } from '@edgemesh/core';
import { createServiceBalancer } from '@edgemesh/lb';
import { createStreamPair } from '@edgemesh/testkit/conformance';
import { describe, expect, it } from 'vitest';
import type { Upstreams } from './services.ts';
import { allTo, clusterOf, endpointAt, startProxy } from './test-support.ts';
import { byteStreamToDuplex } from './upstream/stream-duplex.ts';

/** A dialer without sockets, as a tunnel is: the far end of each stream becomes a connection of the server. */
function memoryDialer(server: { emit(event: 'connection', connection: unknown): boolean }) {
  const dialled: (DialTarget & { readonly clientAddress?: string })[] = [];
  const dialer: Dialer = {
    dial(target, options) {
      dialled.push({ ...target, ...options });
      const { a, b } = createStreamPair();
      server.emit('connection', byteStreamToDuplex(b));
      return a;
    },
    openDatagrams() {
      throw new Error('HTTP has no datagrams');
    },
  };
  return { dialer, dialled };
}

const remote: Endpoint = { ...endpointAt(8080, '10.1.2.3'), nodeName: 'edge-1' };

describe('any dialer', () => {
  it('carries HTTP/1.1, and learns node and client', async () => {
    const server: Server = createServer((req, res) => void req.pipe(res));
    const { dialer, dialled } = memoryDialer(server);
    const endpoints = { pickEndpoint: () => remote };
    await using proxy = await startProxy(allTo(clusterOf('b')), {}, { dialer, upstreams: endpoints });
    const body = 'x'.repeat(3_000_000);
    for (let i = 0; i < 3; i++) {
      const response = await fetch(`http://127.0.0.1:${proxy.port}/`, { method: 'POST', body });
      expect(await response.text()).toBe(body);
    }
    expect(dialled[0]).toMatchObject({
      nodeName: 'edge-1',
      address: '10.1.2.3',
      port: 8080,
      clientAddress: '127.0.0.1',
    });
    expect(dialled).toHaveLength(1);
  });

  it('carries HTTP/2', async () => {
    const server = createHttp2Server();
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    });
    const { dialer } = memoryDialer(server);
    await using proxy = await startProxy(
      allTo(clusterOf('b', 'h2')),
      {},
      { dialer, upstreams: { pickEndpoint: () => remote } },
    );
    const body = 'y'.repeat(1_000_000);
    const response = await fetch(`http://127.0.0.1:${proxy.port}/`, { method: 'POST', body });
    expect(await response.text()).toBe(body);
  });
});

describe('a balancer', () => {
  it('keeps requests of one header value together, request by request on one connection', async () => {
    const servers = [1, 2, 3].map((n) => createServer((_req, res) => void res.end(String(n))));
    const endpoints = servers.map((_, i) => endpointAt(9_000 + i, `10.0.0.${i + 1}`));
    const dialer: Dialer = {
      dial(target) {
        const { a, b } = createStreamPair();
        servers[target.port - 9_000]?.emit('connection', byteStreamToDuplex(b));
        return a;
      },
      openDatagrams() {
        throw new Error('HTTP has no datagrams');
      },
    };
    const balancer = createServiceBalancer({
      balancer: { kind: 'consistentHash', key: { from: 'header', name: 'x-user' } },
    });
    const used = { begin: 0, end: 0, reports: [] as unknown[] };
    await using proxy = await startProxy(
      allTo(clusterOf('b')),
      {},
      {
        dialer,
        upstreams: {
          pickEndpoint: (_cluster, flow, exclude) => balancer.pick(endpoints, flow, exclude),
          begin: () => used.begin++,
          end: () => used.end++,
          report: (_cluster, _endpoint, outcome) => used.reports.push(outcome),
        },
      },
    );
    const ask = async (user: string) =>
      (await fetch(`http://127.0.0.1:${proxy.port}/`, { headers: { 'x-user': user } })).text();
    const byUser = new Map<string, Set<string>>();
    for (let i = 0; i < 60; i++) {
      const user = `user-${i % 20}`;
      const answers = byUser.get(user) ?? new Set();
      byUser.set(user, answers.add(await ask(user)));
    }
    expect([...byUser.values()].every((answers) => answers.size === 1)).toBe(true);
    expect(new Set([...byUser.values()].flatMap((answers) => [...answers])).size).toBeGreaterThan(1);
    expect([used.begin, used.end, used.reports.length]).toEqual([60, 60, 60]);
    expect(used.reports[0]).toEqual({ kind: 'response', status: 200 });
  });

  it('gets a session cookie made for clients that bring none, and finds them again by it', async () => {
    const server = createServer((_req, res) => void res.end('ok'));
    const { dialer } = memoryDialer(server);
    const seen: (string | undefined)[] = [];
    const upstreams: Upstreams = {
      pickEndpoint(_cluster, flow) {
        seen.push(flow.cookie?.('sid'));
        return remote;
      },
      sessionCookie: () => ({ name: 'sid', path: '/shop', ttlMs: 60_000 }),
    };
    await using proxy = await startProxy(allTo(clusterOf('b')), {}, { dialer, upstreams });
    const url = `http://127.0.0.1:${proxy.port}/`;
    const first = await fetch(url);
    const [made = ''] = first.headers.getSetCookie();
    expect(made).toMatch(/^sid=[\w-]{22,}; Path=\/shop; Max-Age=60; HttpOnly$/);
    const second = await fetch(url, { headers: { cookie: made.split(';')[0] as string } });
    expect(second.headers.getSetCookie()).toEqual([]);
    expect(seen).toEqual([made.slice(4, made.indexOf(';')), seen[0]]);
  });
});
