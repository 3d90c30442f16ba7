import type { LabPlan, NatKind } from '@edgemesh/testkit/netns';
import { describe, expect, it } from 'vitest';
import { curl } from '../harness/clients.ts';
import { createMesh, POD_IP } from '../harness/mesh.ts';
import { HELLO, labServices } from '../harness/services.ts';

interface Pair {
  readonly a: NatKind;
  readonly b: NatKind;
  readonly expected: 'punched' | 'relayed' | 'direct';
  /** The NATs answer unasked SYNs with a reset instead of silence. */
  readonly unsolicited?: 'reset';
  /** A second NAT in front of a's. */
  readonly double?: boolean;
}

const pairs: readonly Pair[] = [
  { a: 'portPreserving', b: 'portPreserving', expected: 'punched' },
  { a: 'portPreserving', b: 'portPreserving', expected: 'punched', unsolicited: 'reset' },
  { a: 'portPreserving', b: 'portPreserving', expected: 'punched', double: true },
  { a: 'endpointIndependent', b: 'portPreserving', expected: 'punched' },
  { a: 'firewallOnly', b: 'portPreserving', expected: 'punched' },
  { a: 'symmetric', b: 'symmetric', expected: 'relayed' },
];

function planOf(pair: Pair, relays: number): LabPlan {
  const reset = pair.unsolicited === undefined ? {} : { unsolicited: pair.unsolicited };
  const servers = Object.fromEntries(Array.from({ length: relays }, (_, i) => [`server-${i}`, { lan: 'internet' }]));
  return {
    hosts: { a: { lan: 'home' }, b: { lan: 'office' }, ...servers },
    routers: {
      'nat-a': { lan: 'home', nat: pair.a, ...reset, ...(pair.double && { uplink: 'isp' }) },
      'nat-b': { lan: 'office', nat: pair.b, ...reset },
      ...(pair.double && { carrier: { lan: 'isp' } }),
    },
  };
}

const nameOf = ({ a, b, unsolicited, double }: Pair) =>
  `${a} and ${b}${unsolicited ? ', resetting' : ''}${double ? ', behind a second NAT' : ''}`;

describe.each([1, 2])('with %i relays', (relays) => {
  describe.each(pairs.map((pair) => [nameOf(pair), pair] as const))('%s', (_, pair) => {
    it(`answers at once and ends up ${pair.expected} within 10 s`, async () => {
      await using mesh = await createMesh(planOf(pair, relays));
      const servers = Array.from({ length: relays }, (_, i) => `server-${i}`);
      await Promise.all(servers.map((server) => mesh.server(server)));
      await mesh.backend('b');
      const options = { services: labServices(['b']), relays: servers.map((server) => mesh.host(server).address()) };
      const [a] = await Promise.all([mesh.agent('a', options), mesh.agent('b', options)]);
      const first = await curl(a.machine, `http://${HELLO}/`);
      expect({ body: first.body, stderr: first.stderr }).toEqual({ body: `hello from b (${POD_IP})\n`, stderr: '' });
      expect(first.seconds).toBeLessThan(2);
      // Paths are improved while they are used: a slow request keeps the stream open.
      const busy = a.machine.spawn('curl', ['-s', `http://${HELLO}/slow/9000`]);
      const status = await a.until(
        pair.expected,
        (s) =>
          s.peers.some(
            (p) => p.node === 'b' && p.path === pair.expected && (pair.expected !== 'relayed' || !busy.running),
          ),
        12_000,
      );
      expect(status.peers.find((p) => p.node === 'b')?.path).toBe(pair.expected);
      expect((await curl(a.machine, `http://${HELLO}/`)).body).toContain('hello from b');
      expect(await busy.exited).toBe(0);
    }, 60_000);
  });
});
