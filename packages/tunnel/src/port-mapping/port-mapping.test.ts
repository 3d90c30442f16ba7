import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { silentLogger } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { TunnelError } from '../errors.ts';
import type { SocketAddress } from '../types.ts';
import { portMappingDefaults } from './options.ts';
import { decodePcpMap, decodePmpAddress, decodePmpMap, encodePcpMap } from './pcp-codec.ts';
import { createPcpGateway, createPmpGateway } from './pcp-gateway.ts';
import { PortMapper } from './port-mapper.ts';
import type { GrantedMapping, MappingGateway, MappingRequest } from './protocol.ts';
import { readLocation } from './ssdp.ts';
import { findUpnpGateway } from './upnp-gateway.ts';
import { soapCall, textOf, wanServices } from './upnp-xml.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

const host = '127.0.0.1';
const options = { ...portMappingDefaults, answerTimeoutMs: 20 };
const request = { internalPort: 20_006, externalPort: 20_006, lifetimeSeconds: 7_200 };
const soon = () => AbortSignal.timeout(5_000);

/** A router on loopback that answers each datagram as told, or not at all. */
async function router(answer: (question: Buffer) => Uint8Array | undefined): Promise<number> {
  const socket: Socket = createSocket('udp4');
  socket.on('message', (question, from) => {
    const reply = answer(question);
    if (reply !== undefined) socket.send(reply, from.port, from.address);
  });
  socket.bind(0, host);
  await once(socket, 'listening');
  closers.push(() => socket.close());
  return socket.address().port;
}

/** The answer of RFC 6887, 11.1, made from the question. */
function pcpAnswer(question: Buffer, change: { code?: number; port?: number; nonce?: boolean } = {}): Buffer {
  const answer = Buffer.from(question);
  answer[1] = 0x81;
  answer[3] = change.code ?? 0;
  answer.writeUInt32BE(3_600, 4);
  answer.fill(0, 8, 24);
  if (change.nonce === false) answer[24] = (answer[24] as number) ^ 1;
  answer.writeUInt16BE(change.port ?? 40_000, 42);
  answer.set([255, 255, 5, 1, 1, 2], 54);
  return answer;
}

describe('PCP', () => {
  it('asks for the port and takes what the router gives', async () => {
    const port = await router((question) => pcpAnswer(question));
    const granted = await createPcpGateway({ host, port, options }).map(request, soon());
    expect(granted).toEqual({ external: { host: '5.1.1.2', port: 40_000 }, lifetimeSeconds: 3_600 });
  });

  it('writes requests as the RFC draws them', () => {
    const bytes = encodePcpMap(request, '10.0.0.5', Buffer.alloc(12, 7));
    expect(bytes.subarray(0, 8).toString('hex')).toBe('0201000000001c20');
    expect(bytes.subarray(8, 24).toString('hex')).toBe('00000000000000000000ffff0a000005');
    expect(bytes.subarray(24, 44).toString('hex')).toBe('07070707070707070707070706000000' + '4e264e26');
    expect(bytes).toHaveLength(60);
  });

  it('believes no answer with another nonce, and says with which result it was refused', async () => {
    const forged = await router((question) => pcpAnswer(question, { nonce: false }));
    await expect(createPcpGateway({ host, port: forged, options }).map(request, soon())).rejects.toThrow(/no answer/);
    const strict = await router((question) => pcpAnswer(question, { code: 2 }));
    await expect(createPcpGateway({ host, port: strict, options }).map(request, soon())).rejects.toThrow(/result 2/);
    const old = await router(() => Buffer.from([0, 129, 0, 1, 0, 0, 0, 1]));
    await expect(createPcpGateway({ host, port: old, options }).map(request, soon())).rejects.toThrow(
      /another version/,
    );
  });

  it('repeats a question that got lost, and ends with its signal', async () => {
    let questions = 0;
    const port = await router((question) => (++questions < 3 ? undefined : pcpAnswer(question)));
    await createPcpGateway({ host, port, options }).map(request, soon());
    expect(questions).toBe(3);
    const mute = await router(() => undefined);
    const gateway = createPcpGateway({ host, port: mute, options: portMappingDefaults });
    await expect(gateway.map(request, AbortSignal.timeout(20))).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('never fails on what comes as an answer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const buffer = Buffer.from(bytes);
        for (const read of [
          () => decodePcpMap(buffer, request, Buffer.alloc(12)),
          () => decodePmpAddress(buffer),
          () => decodePmpMap(buffer, request),
        ])
          expect(['ok', 'refused', 'unsupported', undefined]).toContain(read()?.type);
      }),
    );
  });
});

describe('NAT-PMP', () => {
  it('asks for the address and the port, and takes the port back with lifetime 0', async () => {
    const questions: string[] = [];
    const port = await router((question) => {
      questions.push(question.toString('hex'));
      if (question[1] === 0) return Buffer.from([0, 128, 0, 0, 0, 0, 0, 9, 5, 1, 1, 2]);
      const answer = Buffer.alloc(16);
      answer.set([0, 130], 0);
      answer.set(question.subarray(4, 6), 8);
      answer.writeUInt16BE(20_007, 10);
      answer.writeUInt32BE(120, 12);
      return answer;
    });
    const gateway = createPmpGateway({ host, port, options });
    const granted = await gateway.map(request, soon());
    expect(granted).toEqual({ external: { host: '5.1.1.2', port: 20_007 }, lifetimeSeconds: 120 });
    await gateway.unmap(request, soon());
    expect(questions).toEqual(['0000', '000200004e264e2600001c20', '000200004e26000000000000']);
  });
});

describe('UPnP', () => {
  const DESCRIPTION = `<?xml version="1.0"?><root><device><serviceList>
    <service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/l3f</controlURL></service>
    <service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
      <controlURL>/ctl?a=1&amp;b=2</controlURL></service></serviceList></device></root>`;

  /** An HTTP router and the answers to its actions; `fail` gives UPnP error codes, one per AddPortMapping. */
  async function igd(fail: number[] = []) {
    const actions: { readonly action: string; readonly body: string }[] = [];
    const server = createServer((incoming, response) => {
      let body = '';
      incoming.on('data', (chunk) => {
        body += chunk;
      });
      incoming.on('end', () => {
        if (incoming.method === 'GET') return void response.end(DESCRIPTION);
        const action = /#(\w+)"/.exec(String(incoming.headers.soapaction))?.[1] ?? '';
        actions.push({ action, body });
        const code = action === 'AddPortMapping' ? fail.shift() : undefined;
        if (code !== undefined) response.statusCode = 500;
        response.end(
          code === undefined
            ? '<s:Body><NewExternalIPAddress>5.1.1.2</NewExternalIPAddress></s:Body>'
            : `<s:Fault><errorCode>${code}</errorCode></s:Fault>`,
        );
      });
    }).listen(0, host);
    await once(server, 'listening');
    closers.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    const target = {
      host,
      port: await router(() => Buffer.from(`HTTP/1.1 200 OK\r\nLOCATION: http://${host}:${port}/d.xml\r\n\r\n`)),
    };
    const gateway = await findUpnpGateway({ gateway: host, target, options, signal: soon() });
    return { gateway, actions };
  }

  it('finds the router, maps the port to our own address and takes it back', async () => {
    const { gateway, actions } = await igd();
    const granted = await gateway.map(request, soon());
    expect(granted).toEqual({ external: { host: '5.1.1.2', port: 20_006 }, lifetimeSeconds: 7_200 });
    expect(textOf(actions[1]?.body ?? '', 'NewInternalClient')).toBe(host);
    await gateway.unmap(request, soon());
    expect(actions.map(({ action }) => action)).toEqual([
      'GetExternalIPAddress',
      'AddPortMapping',
      'DeletePortMapping',
    ]);
  });

  it('takes another port where that is somebody else’s, and an endless lease where there is no other', async () => {
    const { gateway, actions } = await igd([718, 725]);
    const granted = await gateway.map(request, soon());
    expect(granted.lifetimeSeconds).toBe(0);
    expect(granted.external.port).not.toBe(20_006);
    expect(textOf(actions.at(-1)?.body ?? '', 'NewLeaseDuration')).toBe('0');
    const strict = await igd([606]);
    await expect(strict.gateway.map(request, soon())).rejects.toThrow(/606/);
  });

  it('reads descriptions and writes calls', () => {
    expect(wanServices(DESCRIPTION)).toEqual([
      { serviceType: 'urn:schemas-upnp-org:service:WANIPConnection:1', controlUrl: '/ctl?a=1&b=2' },
    ]);
    expect(textOf(soapCall('urn:x', 'Do', { Name: '<&>' }), 'Name')).toBe('&#60;&#38;&#62;');
    expect(textOf('<a:b x="1"> 2 </a:b>', 'b')).toBe('2');
    fc.assert(fc.property(fc.string(), (text) => void wanServices(`<service>${text}</service>`)));
  });

  it('goes to the router itself only', () => {
    const answer = (location: string) => `HTTP/1.1 200 OK\r\nlocation: ${location}\r\n\r\n`;
    expect(readLocation(answer('http://10.0.0.1:80/x'), '10.0.0.1')?.pathname).toBe('/x');
    for (const bad of ['http://10.0.0.2/x', 'https://10.0.0.1/', 'nonsense', 'http://10.0.0.1.evil.example/'])
      expect(readLocation(answer(bad), '10.0.0.1')).toBeUndefined();
  });
});

describe('the port on the router', () => {
  const external = { host: '5.1.1.2', port: 20_006 };

  function setUp() {
    const clock = createFakeClock();
    const calls: (readonly [string, MappingRequest])[] = [];
    const changes: (SocketAddress | undefined)[] = [];
    const state = { broken: false, gateway: '10.0.0.1' as string | undefined };
    const gateway: MappingGateway = {
      protocol: 'pcp',
      async map(asked): Promise<GrantedMapping> {
        calls.push(['map', asked]);
        if (state.broken) throw new TunnelError('unreachable', 'no answer');
        return { external, lifetimeSeconds: 3_600 };
      },
      unmap: async (asked) => void calls.push(['unmap', asked]),
    };
    const mapper = new PortMapper({
      gateway: async () => state.gateway,
      notNeeded: () => undefined,
      ...{ port: 20_006, ways: [() => gateway], options, clock, log: silentLogger },
      onChange: (address) => changes.push(address),
    });
    return { mapper, clock, calls, changes, state };
  }

  it('is renewed at half of its lifetime, and taken back in the end', async () => {
    const { mapper, clock, calls, changes } = setUp();
    await expect.poll(() => mapper.status().state).toBe('mapped');
    clock.advance(1_799_000);
    expect(calls).toHaveLength(1);
    clock.advance(2_000);
    await expect.poll(() => calls.length).toBe(2);
    await mapper[Symbol.asyncDispose]();
    expect(calls.at(-1)?.[0]).toBe('unmap');
    expect(changes).toEqual([external]);
  });

  it('is gone when the router does not renew it, and comes back with another network', async () => {
    const { mapper, clock, changes, state } = setUp();
    await expect.poll(() => mapper.status().state).toBe('mapped');
    state.broken = true;
    clock.advance(1_801_000);
    await expect.poll(() => mapper.status()).toEqual({ state: 'none', reason: 'no answer' });
    state.broken = false;
    mapper.networkChanged();
    await expect.poll(() => mapper.status().state).toBe('mapped');
    expect(changes).toEqual([external, undefined, external]);
    state.gateway = undefined;
    mapper.networkChanged();
    await expect.poll(() => mapper.status().reason).toBe('there is no router');
    await mapper[Symbol.asyncDispose]();
  });
});
