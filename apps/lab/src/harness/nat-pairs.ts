import type { LabPlan, NatKind } from '@edgemesh/testkit/netns';
import { curl } from './clients.ts';
import { createMesh, type Mesh, type MeshAgent, POD_IP } from './mesh.ts';
import { HELLO, labServices } from './services.ts';

/** Two agents, each behind a router of its own, and the path that they must find. */
export interface NatPair {
  readonly a: NatKind;
  readonly b: NatKind;
  readonly expected: 'punched' | 'relayed' | 'direct';
  /** The NATs answer unasked SYNs with a reset instead of silence. */
  readonly unsolicited?: 'reset';
  /** A second NAT in front of a's. */
  readonly double?: boolean;
  /** A router of the provider between the two NATs: else they are neighbours on one wire. */
  readonly between?: boolean;
  /** Both sites have IPv6 as well, behind a firewall, or on b's side without one. */
  readonly ipv6?: 'firewall' | 'open';
}

/** The NAT matrix. */
export const natPairs: readonly NatPair[] = [
  { a: 'portPreserving', b: 'portPreserving', expected: 'punched' },
  { a: 'portPreserving', b: 'portPreserving', expected: 'punched', unsolicited: 'reset', between: true },
  { a: 'portPreserving', b: 'portPreserving', expected: 'punched', double: true },
  { a: 'endpointIndependent', b: 'portPreserving', expected: 'punched' },
  { a: 'firewallOnly', b: 'portPreserving', expected: 'punched' },
  { a: 'symmetric', b: 'symmetric', expected: 'relayed' },
];

/** Where IPv4 has no way but the relay, and IPv6 has one. */
export const ipv6Pairs: readonly NatPair[] = [
  { a: 'symmetric', b: 'symmetric', expected: 'punched', ipv6: 'firewall', unsolicited: 'reset', between: true },
  { a: 'symmetric', b: 'symmetric', expected: 'direct', ipv6: 'open' },
];

/** A pair in words. */
export const natPairName = ({ a, b, unsolicited, double, between, ipv6 }: NatPair): string =>
  `${a} and ${b}${unsolicited ? ', resetting' : ''}${between ? ', a router between them' : ''}${double ? ', behind a second NAT' : ''}${ipv6 ? `, IPv6 ${ipv6 === 'open' ? 'open at b' : 'firewalls'}` : ''}`;

function planOf(pair: NatPair, relays: number): LabPlan {
  const reset = pair.unsolicited === undefined ? {} : { unsolicited: pair.unsolicited };
  const servers = Object.fromEntries(Array.from({ length: relays }, (_, i) => [`server-${i}`, { lan: 'internet' }]));
  return {
    hosts: { a: { lan: 'home' }, b: { lan: 'office' }, ...servers },
    routers: {
      'nat-a': { lan: 'home', nat: pair.a, ...reset, ...(pair.double || pair.between ? { uplink: 'isp' } : {}) },
      'nat-b': { lan: 'office', nat: pair.b, ...reset, ...(pair.ipv6 && { ipv6: pair.ipv6 }) },
      ...(pair.double && { carrier: { lan: 'isp' } }),
      ...(pair.between && { carrier: { lan: 'isp', nat: 'routed' as const } }),
    },
    ipv6: pair.ipv6 !== undefined,
  };
}

/** The pair's mesh, running, without any traffic yet. */
export async function createPairMesh(
  pair: NatPair,
  relays: number,
): Promise<{ mesh: Mesh; a: MeshAgent; b: MeshAgent }> {
  const mesh = await createMesh(planOf(pair, relays));
  try {
    const servers = Array.from({ length: relays }, (_, i) => `server-${i}`);
    await Promise.all([...servers.map((server) => mesh.server(server)), mesh.backend('b')]);
    const options = { services: labServices(['b']), relays: servers.map((server) => mesh.host(server).address()) };
    const [a, b] = await Promise.all([mesh.agent('a', options), mesh.agent('b', options)]);
    return { mesh, a, b };
  } catch (error) {
    await mesh[Symbol.asyncDispose]();
    throw error;
  }
}

export interface PairOutcome {
  /** What the first request, made on a cold mesh, brought. */
  readonly first: Awaited<ReturnType<typeof curl>>;
  /** Milliseconds from that request to the expected path; undefined when it was not reached within 10 s. */
  readonly reachedMs: number | undefined;
  readonly path: string | undefined;
  /** Where it leads to. */
  readonly address: string | undefined;
  /** What the last request brought. */
  readonly last: Awaited<ReturnType<typeof curl>>;
  readonly nat: unknown;
}

/** First traffic through a cold pair, the wait for the expected path, traffic again. */
export async function runPair(pair: NatPair, { a }: { a: MeshAgent }): Promise<PairOutcome> {
  const began = performance.now();
  const first = await curl(a.machine, `http://${HELLO}/`);
  // Paths are improved while they are used: a slow request keeps the stream open.
  const busy = a.machine.spawn('curl', ['-s', `http://${HELLO}/slow/9000`]);
  const status = await a
    .until(pair.expected, (s) => s.peers.some((p) => p.node === 'b' && p.path === pair.expected), 10_000)
    .catch(() => undefined);
  const reachedMs = status && Math.round(performance.now() - began);
  const last = await curl(a.machine, `http://${HELLO}/`);
  const isKnown = (s: Awaited<ReturnType<MeshAgent['status']>>) => s.details?.nat !== undefined;
  const end = await a.until('the kind of NAT', isKnown, 5_000).catch(() => a.status());
  await busy.kill();
  const peer = end.peers.find((p) => p.node === 'b');
  return { first, reachedMs, path: peer?.path, address: peer?.address, last, nat: end.details?.nat };
}

/** The body that both requests must bring. */
export const GREETING = `hello from b (${POD_IP})\n`;
