import { connect } from 'node:net';
import { type ManagedControlPlane, writePreamble } from '../control/index.ts';
import { TunnelError } from '../errors.ts';
import type { ReachOptions } from './options.ts';
import { decodeProbes, type Probe, REACH_PROBE } from './probe-message.ts';

/**
 * Dials members back at their own request, as AutoNAT does, so that they learn whether they can be reached. Only the address
 * that a member comes from is dialled: nobody can point a relay at somebody else.
 */
export function serveDialBack(
  control: Pick<ManagedControlPlane, 'handle' | 'remoteHosts'>,
  options: ReachOptions,
): void {
  let dials = 0;
  control.handle(REACH_PROBE, async (peerId, body, signal) => {
    const hosts = control.remoteHosts(peerId);
    const probes = decodeProbes(body)
      .filter(({ address }) => hosts.includes(address.host))
      .slice(0, options.maxAddresses);
    if (dials + probes.length > options.maxDials) throw new TunnelError('limit', 'too many dials under way');
    dials += probes.length;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(options.dialTimeoutMs)]);
    await Promise.all(probes.map((probe) => present(probe, limit).finally(() => dials--)));
    return Buffer.from(JSON.stringify({ tried: probes.length }));
  });
}

/** How many addresses the relay has tried, by its answer. */
export function triedIn(answer: Uint8Array): number {
  const { tried } = JSON.parse(Buffer.from(answer).toString('utf8')) as { readonly tried?: unknown };
  return typeof tried === 'number' ? tried : 0;
}

/** Resolves when the member has taken the ticket and hung up, or when that cannot be expected any more. */
function present({ address, ticket }: Probe, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ host: address.host, port: address.port, noDelay: true });
    const end = () => void socket.destroy();
    signal.addEventListener('abort', end, { once: true });
    socket.once('connect', () => writePreamble(socket, { kind: 'ticket', ticket }));
    socket.on('error', end);
    socket.on('close', () => {
      signal.removeEventListener('abort', end);
      resolve();
    });
    socket.resume();
  });
}
