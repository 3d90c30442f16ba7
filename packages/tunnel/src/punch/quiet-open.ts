import type { Socket } from 'node:net';
import { messageOf } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { SocketAddress } from '../types.ts';
import { type Family, familyOf } from './mappings.ts';
import type { Opened, OpenPair } from './simultaneous-open.ts';

/**
 * A TCP connect whose SYN is dropped by the router number `hops` on the way: the NATs before it are open then, and nobody
 * behind it has heard of us. Resolves when the peer connects from there. Rejects when that is impossible, or with the signal.
 */
export type DialQuietly = (
  local: SocketAddress,
  peer: SocketAddress,
  options: { readonly hops: number; readonly signal: AbortSignal },
) => Promise<Socket>;

/**
 * Our end of a simultaneous open whose SYNs must not reach the peer's NAT: each pair's gets one router further than the one
 * before, as nobody knows how far our own NATs reach. The SYNs have left when this returns its promise. Takes the first pair
 * on which the peer comes in; rejects with TunnelError `unreachable` when it does on none.
 */
export async function openQuietly(
  pairs: readonly OpenPair[],
  dialQuietly: DialQuietly,
  signal: AbortSignal,
): Promise<Opened> {
  const taken = new AbortController();
  const either = AbortSignal.any([signal, taken.signal]);
  const hops = new Map<Family, number>();
  const dials = pairs.map(async ({ local, peer }) => {
    const family = familyOf(peer);
    const reach = (hops.get(family) ?? 0) + 1;
    hops.set(family, reach);
    const socket = await dialQuietly(local, peer, { hops: reach, signal: either });
    socket.on('error', () => socket.destroy()); // until its new owner listens
    if (taken.signal.aborted) socket.destroy();
    else taken.abort();
    return { socket, peer };
  });
  try {
    return await Promise.any(dials);
  } catch (error) {
    const [why] = error instanceof AggregateError ? error.errors : [error];
    throw new TunnelError('unreachable', `the peer did not come in: ${messageOf(why)}`, {
      retryable: true,
      cause: why,
    });
  }
}
