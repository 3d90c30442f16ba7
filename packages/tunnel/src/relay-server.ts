import { MeshError } from '@edgemesh/core';
import { createTunnel } from './tunnel.ts';
import type { Tunnel, TunnelDeps, TunnelOptions } from './tunnel-api.ts';

export type RelayServerOptions = Omit<TunnelOptions, 'session' | 'paths'>;

/** A public relay and rendezvous: a tunnel that serves others and lets nobody reach anything behind itself. */
export type RelayServer = Pick<
  Tunnel,
  'peerId' | 'nodeName' | 'listenAddresses' | 'relayStatus' | 'relays' | 'control' | typeof Symbol.asyncDispose
>;

export function createRelayServer(
  options: RelayServerOptions,
  deps: Omit<TunnelDeps, 'inbound'>,
): Promise<RelayServer> {
  const refuse = () => new MeshError('forbidden', 'this node is a relay and serves no endpoints');
  return createTunnel(
    { ...options, control: { ...options.control, serveRelay: true } },
    { ...deps, inbound: { openStream: refuse, openDatagrams: refuse } },
  );
}
