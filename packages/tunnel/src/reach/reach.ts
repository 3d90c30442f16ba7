import { type Clock, ipVersion, type Logger, type Metrics } from '@edgemesh/core';
import { isLoopbackHost, isPrivateHost, type ManagedControlPlane } from '../control/index.ts';
import { formatAddress } from '../paths/connect.ts';
import { PortMapper, type PortMappingStatus, portMappingDefaults } from '../port-mapping/index.ts';
import type { TunnelDeps, TunnelOptions } from '../tunnel-api.ts';
import type { SocketAddress } from '../types.ts';
import { serveDialBack } from './dial-back.ts';
import { type NatStatus, NatWatch } from './nat-watch.ts';
import { reachDefaults } from './options.ts';

export interface ReachDeps {
  readonly control: ManagedControlPlane;
  readonly gateway?: TunnelDeps['gateway'];
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** How others come to this node: what relays see of it, and the port that the router gives it. */
export interface Reach extends AsyncDisposable {
  readonly nat: NatWatch;
  portMapping(): PortMappingStatus | undefined;
}

/** Watches how we look from outside, and has the record name each address that leads here. */
export function createReach(options: TunnelOptions, deps: ReachDeps): Reach {
  const { control, clock, log, metrics } = deps;
  const reachOptions = { ...reachDefaults, ...options.reach };
  if (options.control.serveRelay) serveDialBack(control, reachOptions);
  const port = portOf(control);
  const found = new FoundAddresses(control);
  const nat = new NatWatch({
    ...{ control, clock, log, metrics, port, options: reachOptions },
    candidates: () => [...ownPublicAddresses(control), ...found.mapped],
    onChange: (status) => found.setSeen(status),
  });
  const mapper = deps.gateway && createMapper(options, { ...deps, gateway: deps.gateway }, found, nat);
  let relays = '';
  const undo = [
    control.onRelays((states) => {
      const connected = states.flatMap(({ state, peerId }) => (state === 'connected' ? [peerId] : [])).join();
      if (connected !== relays) nat.changed();
      relays = connected;
    }),
    control.onNetworkChange(() => {
      mapper?.networkChanged();
      nat.networkChanged();
    }),
  ];
  return {
    nat,
    portMapping: () => mapper?.status(),
    async [Symbol.asyncDispose]() {
      for (const stop of undo) stop();
      nat[Symbol.dispose]();
      await mapper?.[Symbol.asyncDispose]();
    },
  };
}

function createMapper(
  options: TunnelOptions,
  deps: ReachDeps & Required<Pick<ReachDeps, 'gateway'>>,
  found: FoundAddresses,
  nat: NatWatch,
): PortMapper {
  const { control, gateway, clock, log } = deps;
  const isPublic = (host: string) => ipVersion(host) === 4 && !isPrivateHost(host);
  return new PortMapper({
    ...{ clock, log, gateway, port: portOf(control), options: { ...portMappingDefaults, ...options.portMapping } },
    notNeeded: () => (control.ownHosts().some(isPublic) ? 'this node has a public address' : undefined),
    onChange: (external) => {
      found.setMapped(external);
      nat.changed();
    },
  });
}

/** Addresses that lead here and are none of our own. */
class FoundAddresses {
  mapped: readonly SocketAddress[] = [];
  readonly #control: ManagedControlPlane;
  #seen: NatStatus | undefined;
  #named = '';

  constructor(control: ManagedControlPlane) {
    this.#control = control;
  }

  setMapped(external: SocketAddress | undefined): void {
    this.mapped = external === undefined ? [] : [external];
    this.#update();
  }

  setSeen(status: NatStatus): void {
    this.#seen = status;
    this.#update();
  }

  /** A relay's word counts; without it, a mapping is believed whose address the whole world can dial. */
  #update(): void {
    const own = this.#control.ownHosts();
    const confirmed = this.#seen?.confirmed ?? [];
    const believed =
      (this.#seen?.reachability ?? 'unknown') === 'unknown'
        ? this.mapped.filter(({ host }) => !isPrivateHost(host))
        : [];
    const addresses = [...confirmed, ...believed].filter(({ host }) => !own.includes(host) && !isLoopbackHost(host));
    const named = addresses.map(formatAddress).join();
    if (named !== this.#named) this.#control.setFoundAddresses(addresses);
    this.#named = named;
  }
}

/** The port of our IPv4 listener, or of the first one. */
function portOf(control: ManagedControlPlane): number {
  const { listenAddresses } = control;
  return (listenAddresses.find(({ host }) => ipVersion(host) === 4) ?? listenAddresses[0])?.port ?? 0;
}

function ownPublicAddresses(control: ManagedControlPlane): readonly SocketAddress[] {
  return control.records().find(({ peerId }) => peerId === control.peerId)?.publicAddresses ?? [];
}
