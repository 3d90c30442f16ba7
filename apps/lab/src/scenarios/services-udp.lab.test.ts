import type { LabMachine } from '@edgemesh/testkit/netns';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { udpExchange } from '../harness/clients.ts';
import { createMesh, type Mesh, type MeshAgent } from '../harness/mesh.ts';
import { labServices, UDP_ECHO } from '../harness/services.ts';

const FLOWS = 10_000;
const IDLE_SECONDS = 10;

/** Opens `count` sockets, sends one datagram from each and waits for the answers; prints how many came. Sockets stay open to the end. */
async function manyFlows(machine: LabMachine, address: string, port: number, count: number) {
  const script = `
    const dgram = require('node:dgram');
    const sockets = [];
    let answered = 0, wrong = 0, next = 0;
    const one = () => new Promise((resolve) => {
      const i = next++;
      const socket = dgram.createSocket('udp4');
      sockets.push(socket);
      let tries = 0;
      const send = () => { if (++tries > 4) return resolve(); socket.send('flow ' + i, ${port}, '${address}'); timer = setTimeout(send, 1500); };
      let timer;
      socket.on('message', (message) => {
        clearTimeout(timer);
        if (String(message) === 'b:flow ' + i) answered++; else wrong++;
        resolve();
      });
      socket.on('error', () => resolve());
      send();
    });
    const worker = async () => { while (next < ${count}) await one(); };
    Promise.all(Array.from({ length: 128 }, worker)).then(() => { console.log(JSON.stringify({ answered, wrong })); process.exit(); });`;
  const { stdout, stderr } = await machine.exec(process.execPath, ['-e', script], { timeoutMs: 60_000 });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as { readonly answered: number; readonly wrong: number };
}

describe('UDP through the tunnel', () => {
  let mesh: Mesh;
  let a: MeshAgent;
  let b: MeshAgent;

  beforeAll(async () => {
    mesh = await createMesh({ hosts: { a: { lan: 'home' }, b: { lan: 'home' } } });
    await mesh.backend('b');
    const limits = { tunnelPeerBaseStreamIn: 12_000, tunnelPeerBaseStreamOut: 12_000 };
    const options = {
      services: labServices(['b']),
      tunnel: { tunnelLimitConfig: { tunnelBaseStreamIn: 12_000, tunnelBaseStreamOut: 12_000, ...limits } },
      modules: { edgeProxy: { enable: true, udpIdleTimeout: IDLE_SECONDS } },
      config: { commonConfig: { logLevel: 'info' } },
    };
    [a, b] = await Promise.all([mesh.agent('a', options), mesh.agent('b', options)]);
    await a.until('a path', async (s) => {
      if (!s.peers.some((p) => p.node === 'b')) await udpExchange(a.machine, UDP_ECHO, 7, [1]);
      return s.peers.some((p) => p.node === 'b' && p.state === 'active');
    });
  });
  afterAll(() => mesh?.[Symbol.asyncDispose]());

  it('keeps datagrams of any size whole and apart', async () => {
    const sizes = [1, 2, 511, 1_400, 1_472, 1_473, 8_192, 30_000, 65_000, 65_505];
    expect(await udpExchange(a.machine, UDP_ECHO, 7, sizes)).toEqual(sizes.map((size) => `intact ${size} b`));
  });

  it('takes 10,000 flows at once, and leaves none of them behind', async () => {
    expect(await manyFlows(a.machine, UDP_ECHO, 7, FLOWS)).toEqual({ answered: FLOWS, wrong: 0 });
    expect((await a.status()).flows?.udp).toBeGreaterThan(FLOWS * 0.9);
    for (const agent of [a, b]) {
      await agent.until(
        'no flow left',
        (s) => s.flows?.udp === 0 && s.peers.every((p) => p.streams === 0),
        (IDLE_SECONDS + 15) * 1_000,
      );
      const sockets = await agent.machine.must('ss', ['-Hun']);
      expect(sockets.split('\n').filter((line) => line.includes(':7001'))).toEqual([]);
    }
  });
});
