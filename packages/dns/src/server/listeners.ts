import { backoffDelay, type Clock, detach, type Logger, messageOf, type Random, type Timer } from '@edgemesh/core';
import { listenError } from '../errors.ts';
import type { DnsMetrics } from '../metrics.ts';
import type { Limits, ListenAddress } from '../options.ts';
import type { Resolver } from '../resolve/resolver.ts';
import { openTcpListener } from './tcp-listener.ts';
import { type Listener, openUdpListener } from './udp-listener.ts';

export type Transport = 'udp' | 'tcp';

export interface ListenerStatus extends ListenAddress {
  readonly transport: Transport;
  readonly state: 'up' | 'down';
  /** Why it is down. */
  readonly error?: string;
}

/** All listeners of a server. One that fails later is bound again with backoff, the others go on. */
export interface Listeners extends AsyncDisposable {
  readonly addresses: readonly ListenAddress[];
  readonly status: readonly ListenerStatus[];
}

export interface ListenersDeps {
  readonly resolver: Resolver;
  readonly limits: Limits;
  readonly metrics: DnsMetrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Opens a listener of either transport; tests put their own here. */
  readonly openers?: Openers;
}

type Opener = (address: string, port: number, deps: Parameters<typeof openTcpListener>[2]) => Promise<Listener>;
type Openers = Readonly<Record<Transport, Opener>>;
const OPENERS: Openers = { udp: openUdpListener, tcp: openTcpListener };

/** Tries for one ephemeral port that is free for both transports. */
const EPHEMERAL_TRIES = 16;

/** Binds all or none. Rejects with a `DnsError` that names the first address and port that failed. */
export async function openListeners(wanted: readonly ListenAddress[], deps: ListenersDeps): Promise<Listeners> {
  const slots: Slot[] = [];
  try {
    for (const { address, port } of wanted) slots.push(...(await openPair(address, port, deps)));
  } catch (error) {
    await Promise.all(slots.map((slot) => slot.close()));
    throw error;
  }
  return {
    addresses: slots
      .filter((slot) => slot.status.transport === 'udp')
      .map(({ status: { address, port } }) => ({ address, port })),
    get status() {
      return slots.map((slot) => slot.status);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(slots.map((slot) => slot.close()));
    },
  };
}

async function openPair(address: string, port: number, deps: ListenersDeps): Promise<Slot[]> {
  for (let attempt = 1; ; attempt++) {
    const udp = await openSlot('udp', address, port, deps);
    try {
      return [udp, await openSlot('tcp', address, udp.status.port, deps)];
    } catch (error) {
      await udp.close();
      // The kernel gave a UDP port whose TCP twin is taken: ask for another one.
      if (port !== 0 || attempt >= EPHEMERAL_TRIES) throw error;
    }
  }
}

interface Slot {
  readonly status: ListenerStatus;
  close(): Promise<void>;
}

async function openSlot(transport: Transport, address: string, port: number, deps: ListenersDeps): Promise<Slot> {
  const { limits, clock, log } = deps;
  const gauge = deps.metrics.listenersUp.with(address, transport);
  let listener: Listener | undefined;
  let error: string | undefined;
  let retry: Timer | undefined;
  let attempts = 0;
  let closed = false;

  const bind = async (to: number): Promise<Listener> => {
    const open = (deps.openers ?? OPENERS)[transport];
    try {
      const bound = await open(address, to, { ...deps, onLost: lost });
      gauge.set(1);
      return bound;
    } catch (cause) {
      throw listenError(cause, address, to, transport);
    }
  };
  const lost = (cause: unknown) => {
    listener = undefined;
    error = messageOf(cause);
    gauge.set(0);
    if (closed) return;
    log.warn('listener lost, will bind again', { address, port: boundPort, transport, error });
    const delay = backoffDelay(attempts++, { initialMs: limits.rebindMinMs, maxMs: limits.rebindMaxMs }, deps.random);
    retry = clock.after(delay, () => detach('bind a listener again', log, rebind()));
  };
  const rebind = async () => {
    try {
      const bound = await bind(boundPort);
      if (closed) return await bound.close();
      listener = bound;
      error = undefined;
      attempts = 0;
      log.info('listener bound again', { address, port: boundPort, transport });
    } catch (cause) {
      lost(cause);
    }
  };

  listener = await bind(port);
  const boundPort = listener.port;
  return {
    get status() {
      const place = { address, port: boundPort, transport };
      return error === undefined ? { ...place, state: 'up' as const } : { ...place, state: 'down' as const, error };
    },
    async close() {
      closed = true;
      retry?.cancel();
      await listener?.close();
    },
  };
}
