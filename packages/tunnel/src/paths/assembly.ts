import { type Clock, ipVersion, type Logger, type Metrics } from '@edgemesh/core';
import { type ManagedControlPlane, writePreamble } from '../control/index.ts';
import type { MeshSecrets, NodeIdentity } from '../identity/index.ts';
import { relayDefaults } from '../options.ts';
import { punchDefaults } from '../punch/punch-options.ts';
import { createPuncher, type Puncher } from '../punch/puncher.ts';
import type { NatWatch } from '../reach/nat-watch.ts';
import type { CircuitBook } from '../relay/circuit-book.ts';
import { createRelayClient } from '../relay/client.ts';
import { createRelayService, type RelayService } from '../relay/service.ts';
import type { TunnelDeps, TunnelOptions } from '../tunnel-api.ts';
import type { Carrier, PathKind } from '../types.ts';
import { pathOfAddress } from './path-of-address.ts';
import type { PathStrategy } from './peer-link.ts';
import { Reception } from './reception.ts';
import { createStrategies } from './strategies.ts';

export interface PathsDeps {
  readonly control: ManagedControlPlane;
  readonly identity: NodeIdentity;
  readonly secrets: MeshSecrets;
  /** Time for one attempt, in milliseconds. */
  readonly attemptTimeoutMs: number;
  /** Told of what punches see; takes the tickets that relays bring when they dial back. */
  readonly nat: Pick<NatWatch, 'noteKind' | 'take'>;
  /** Places for circuits; undefined where this node does not relay. */
  readonly book: CircuitBook | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly loadQuietDial?: TunnelDeps['loadQuietDial'];
  /** Aborted when the tunnel closes. */
  readonly signal: AbortSignal;
  /** A peer that came by itself. */
  onCarrier(carrier: Carrier): void;
}

/** All ways from and to this node. */
export interface Paths extends Disposable {
  readonly strategies: Readonly<Partial<Record<PathKind, PathStrategy>>>;
  /** Undefined with `holePunch: false`. */
  readonly puncher: Puncher | undefined;
  /** Undefined where this node does not relay. */
  readonly relayService: RelayService | undefined;
}

/** Wires the ways out (strategies) and the ways in (reception) to the control plane. */
export function assemblePaths(options: TunnelOptions, deps: PathsDeps): Paths {
  const { control, log, clock, attemptTimeoutMs } = deps;
  const limits = { ...relayDefaults, ...options.relay };
  const relayService = deps.book && createRelayService({ control, book: deps.book, limits, log, clock });
  const reception = new Reception({
    ...deps,
    relayService,
    takeTicket: (ticket) => deps.nat.take(ticket),
    timeoutMs: attemptTimeoutMs,
  });
  const relayClient = createRelayClient({
    control,
    writePreamble,
    connectTimeoutMs: attemptTimeoutMs,
    clock,
    onIncoming: (from, relayed) => reception.acceptRelayed(from, relayed),
  });
  const puncher =
    options.holePunch === false
      ? undefined
      : createPuncher({
          control,
          connectPeer: (record, signal) => control.connectPeer(record, signal),
          onNatKind: (kind) => deps.nat.noteKind(kind),
          ipv6: () => control.ownHosts().find((host) => ipVersion(host) === 6 && pathOfAddress(host) === 'direct'),
          loadQuietDial: deps.loadQuietDial,
          onPunched: (peerId, socket, peer) => reception.acceptPunched(peerId, socket, peer),
          options: { ...punchDefaults, ...options.punch },
          clock,
          log,
        });
  control.onCircuit((stream, peerId) => reception.acceptCircuit(stream, peerId));
  control.onDataSocket((socket, preamble) => reception.acceptData(socket, preamble));
  const strategies = createStrategies({
    control,
    relayClient,
    relayService,
    puncher,
    handshake: (socket, about, signal) => reception.handshake(socket, about, signal),
  });
  return {
    strategies,
    puncher,
    relayService,
    [Symbol.dispose]() {
      puncher?.[Symbol.dispose]();
      relayService?.[Symbol.dispose]();
    },
  };
}
