import { silentLogger, systemClock } from '@edgemesh/core';
import type { Libp2p } from '@libp2p/interface';
import { describe, expect, it } from 'vitest';
import { TunnelError } from '../errors.ts';
import { createNodeIdentity } from '../identity/index.ts';
import type { NodeRecord } from '../types.ts';
import type { Link, Links } from './links.ts';
import { PeerDialer } from './peer-dialer.ts';

const relay = { peerId: 'relay', connection: { remoteAddr: undefined } } as unknown as Link;

/** A dialler without any connection, whose relay is connected; `direct` is what becomes of the peer's own addresses. */
async function setUp(direct: (signal: AbortSignal) => Promise<Link>) {
  const circuits: string[] = [];
  const state: { latest: NodeRecord | undefined } = { latest: undefined };
  const links = {
    connect: (_: unknown, { signal }: { signal: AbortSignal }) => direct(signal),
    connectCircuit: async (_: unknown, peerId: string) => {
      circuits.push(peerId);
      return relay;
    },
  };
  const dialer = await PeerDialer.create({
    node: { handle: async () => undefined, getConnections: () => [] } as unknown as Libp2p,
    links: links as unknown as Links,
    relays: () => [relay],
    latest: () => state.latest,
    clock: systemClock,
    log: silentLogger,
  });
  const { peerId } = await createNodeIdentity();
  const lanAddresses = [{ host: '10.0.0.1', port: 1 }];
  const record = {
    nodeName: 'b',
    peerId,
    sequence: 1,
    lanAddresses,
    publicAddresses: [],
    relays: [],
    capabilities: [],
  };
  return { dialer, circuits, state, record };
}

const never = (signal: AbortSignal) =>
  new Promise<Link>((_, reject) => signal.addEventListener('abort', () => reject(new Error('given up'))));

describe('a connection to a peer that has just started', () => {
  it('goes through the relay that its next record names, without waiting for its addresses', async () => {
    const { dialer, circuits, state, record } = await setUp(never);
    const connecting = dialer.connect(record, AbortSignal.timeout(5_000));
    state.latest = { ...record, sequence: 2, relays: ['relay'] };
    await connecting;
    expect(circuits).toEqual([record.peerId]);
  });

  it('fails as soon as its addresses have failed and there is no relay in common', async () => {
    const { dialer, circuits, record } = await setUp(async () => {
      throw new TunnelError('unreachable', 'refused');
    });
    const connecting = dialer.connect(record, AbortSignal.timeout(5_000));
    await expect(connecting).rejects.toThrow(/refused; no relay in common/);
    expect(circuits).toEqual([]);
  });
});
