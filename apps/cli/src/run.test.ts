import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Explanation, Status } from './agent-client.ts';
import { readArguments } from './args.ts';
import { run } from './run.ts';

const STATUS: Status = {
  node: 'edge-a',
  version: '0.1.0',
  uptimeMs: 90_000,
  modules: [{ name: 'dns', state: 'ready', reason: '' }],
  catalog: { services: 4, endpoints: 5, source: 'authoritative', ageMs: 1_000 },
  relays: [
    {
      nodeName: 'server',
      addresses: [{ host: '203.0.113.1', port: 20006 }],
      connectedAddress: { host: '203.0.113.1', port: 20006 },
      state: 'connected',
      rttMs: 12.3,
    },
  ],
  peers: [
    {
      node: 'edge-b',
      path: 'relayed',
      state: 'active',
      rttMs: 25,
      address: '203.0.113.1:20006',
      bytesIn: 3410,
      bytesOut: 1_500_000,
      streams: 2,
    },
  ],
  flows: { tcp: 1, udp: 2 },
  details: {},
};
const EXPLANATION: Explanation = {
  service: 'default/hello',
  type: 'ClusterIP',
  addresses: ['10.96.0.1'],
  name: 'hello.default.svc.cluster.local',
  ports: [
    {
      name: 'http',
      port: 80,
      protocol: 'TCP',
      chosenBy: 'agent',
      policy: 'roundRobin',
      rule: 'default/rule',
      endpoints: [
        {
          address: '172.17.0.2',
          port: 8080,
          node: 'edge-b',
          pod: 'default/hello-1',
          used: true,
          reason: '',
          via: 'tunnel',
          path: 'relayed',
          rttMs: 25,
        },
        {
          address: 'fd00::2',
          port: 8080,
          node: 'cloud',
          pod: null,
          used: false,
          reason: 'not ready: look at the pod',
          via: 'tunnel',
          path: null,
          rttMs: null,
        },
      ],
    },
  ],
  problems: [],
};

let server: Server | undefined;
afterEach(() => server?.close());

/** An agent's admin endpoint that answers these pages. */
async function agent(pages: Readonly<Record<string, { status?: number; body: unknown }>>) {
  const asked: string[] = [];
  server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://agent');
    asked.push(url.pathname + url.search);
    const page = pages[url.pathname] ?? { status: 404, body: { error: 'not found' } };
    response.writeHead(page.status ?? 200, { 'content-type': 'application/json' });
    response.end(typeof page.body === 'string' ? page.body : JSON.stringify(page.body));
  });
  const listening = server;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  return { admin: `http://127.0.0.1:${(listening.address() as AddressInfo).port}`, asked };
}

async function edgemesh(admin: string, ...args: string[]) {
  const lines: string[] = [];
  const print = (text: string) => void lines.push(text);
  const code = await run(readArguments([...args, '--admin', admin]), { print, complain: print });
  return { code, text: lines.join('\n') };
}

describe('edgemesh status', () => {
  it('shows modules, relays and peers with their paths', async () => {
    const { admin } = await agent({ '/status': { body: STATUS } });
    const { code, text } = await edgemesh(admin, 'status');
    expect(code).toBe(0);
    expect(text).toMatch(/^edge-a, agent 0\.1\.0, up 90 s$/m);
    expect(text).toMatch(/^ {2}server +203\.0\.113\.1:20006 +connected +12 ms$/m);
    expect(text).toMatch(/^ {2}edge-b +relayed +active +25 ms +203\.0\.113\.1:20006 +3\.4 KB +1\.5 MB +2$/m);
  });

  it('fails when a module is not ready, and gives the whole document as JSON', async () => {
    const modules = [{ name: 'tunnel', state: 'degraded', reason: 'port 20006 is in use' }];
    const { admin } = await agent({ '/status': { body: { ...STATUS, modules, relays: [], peers: [] } } });
    const { code, text } = await edgemesh(admin, 'status');
    expect(code).toBe(1);
    expect(text).toContain('port 20006 is in use');
    expect(JSON.parse((await edgemesh(admin, 'status', '--json')).text)).toMatchObject({ node: 'edge-a' });
  });
});

describe('edgemesh why', () => {
  it('shows where a Service leads', async () => {
    const { admin, asked } = await agent({ '/explain': { body: EXPLANATION } });
    const { code, text } = await edgemesh(admin, 'why', 'hello', '-n', 'shop');
    expect(asked).toEqual(['/explain?service=hello&namespace=shop']);
    expect(code).toBe(0);
    expect(text).toMatch(/^80\/TCP http: chosen by the agent, roundRobin, from DestinationRule default\/rule$/m);
    expect(text).toMatch(/^ {2}172\.17\.0\.2:8080 +edge-b +tunnel, relayed +25 ms +yes +default\/hello-1$/m);
    expect(text).toMatch(/^ {2}\[fd00::2\]:8080 +cloud +tunnel +- +not ready: look at the pod$/m);
  });

  it('fails with what is wrong, in the words of the agent', async () => {
    const problems = ['port 80/TCP: no endpoints'];
    const { admin } = await agent({ '/explain': { body: { ...EXPLANATION, ports: [], problems } } });
    expect(await edgemesh(admin, 'why', 'hello')).toMatchObject({
      code: 1,
      text: expect.stringContaining('! port 80'),
    });
    const missing = await agent({ '/explain': { status: 404, body: { error: 'there is no Service default/x' } } });
    expect(await edgemesh(missing.admin, 'why', 'x')).toEqual({
      code: 1,
      text: 'edgemesh: there is no Service default/x',
    });
  });
});

describe('edgemesh ping', () => {
  it('shows each answer with its path, and fails when one is missing', async () => {
    const { admin } = await agent({ '/ping': { body: { node: 'edge-b', rttMs: 3.21, path: 'punched' } } });
    const { code, text } = await edgemesh(admin, 'ping', 'edge-b', '-c', '1');
    expect(code).toBe(0);
    expect(text.split('\n')).toEqual([
      'edge-b: 3.2 ms, punched',
      expect.stringMatching(/^1 of 1 answered: best 3\.2 ms/),
    ]);
    const failing = await agent({ '/ping': { status: 502, body: { error: 'node x is unknown' } } });
    expect(await edgemesh(failing.admin, 'ping', 'x', '-c', '1')).toEqual({
      code: 1,
      text: 'x: node x is unknown\n0 of 1 answered',
    });
  });
});

describe('edgemesh doctor', () => {
  it('finds nothing wrong where all is well', async () => {
    const { admin } = await agent({ '/status': { body: STATUS } });
    const { code, text } = await edgemesh(admin, 'doctor');
    expect(code).toBe(0);
    expect(text).toMatch(/0 wrong$/);
  });

  it('names each thing that is wrong and what to do', async () => {
    const sick: Status = {
      ...STATUS,
      modules: [{ name: 'tunnel', state: 'degraded', reason: 'no secret' }],
      catalog: { services: 4, endpoints: 5, source: 'snapshot', ageMs: null },
      relays: [{ addresses: [{ host: 'relay', port: 1 }], state: 'failed', reason: 'the secret is another one' }],
      peers: [{ ...(STATUS.peers[0] as Status['peers'][number]), state: 'failed', reason: 'relayed: no ticket' }],
      details: {
        dns: { listeners: [{ address: '169.254.96.16', port: 53, transport: 'udp', state: 'failed' }], upstreams: [] },
        proxy: { mode: 'kernel', problems: ['nft is missing'], conditions: { 'default/a': ['unknown policy'] } },
      },
    };
    const { admin } = await agent({ '/status': { body: sick } });
    const { code, text } = await edgemesh(admin, 'doctor');
    expect(code).toBe(1);
    for (const words of [
      'no secret',
      'snapshot',
      'another one',
      'no ticket',
      '169.254.96.16:53',
      'nft is missing',
      'unknown policy',
    ])
      expect(text).toContain(words);
  });

  it('asks the DNS that the agent says it has', async () => {
    const dns = {
      listeners: [{ address: '127.0.0.1', port: 1, transport: 'udp', state: 'up' }],
      zone: { domains: ['cluster.local.'] },
      upstreams: [{ address: '192.0.2.1', port: 53, state: 'up' }],
    };
    const { admin } = await agent({ '/status': { body: { ...STATUS, details: { dns } } } });
    const { code, text } = await edgemesh(admin, 'doctor');
    expect(code).toBe(1);
    expect(text).toMatch(/DNS on 127\.0\.0\.1:1 does not answer/);
  });
});

describe('an agent that cannot be asked', () => {
  it('is told with its address and what to look at', async () => {
    expect(await edgemesh('http://127.0.0.1:1', 'status')).toMatchObject({
      code: 1,
      text: expect.stringMatching(/no agent answers at http:\/\/127\.0\.0\.1:1 .*adminListen/),
    });
    const { admin } = await agent({ '/status': { body: 'hello' } });
    expect((await edgemesh(admin, 'status')).text).toMatch(/is this an EdgeMesh agent/);
    expect((await edgemesh('http://127.0.0.1:1', 'what')).code).toBe(2);
  });
});
