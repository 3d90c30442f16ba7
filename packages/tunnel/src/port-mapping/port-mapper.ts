import { type Clock, detach, type Logger, messageOf, sleep } from '@edgemesh/core';
import { TunnelError } from '../errors.ts';
import type { SocketAddress } from '../types.ts';
import type { PortMappingOptions } from './options.ts';
import { createPcpGateway, createPmpGateway } from './pcp-gateway.ts';
import type { GrantedMapping, MappingGateway, MappingProtocol } from './protocol.ts';
import { findUpnpGateway } from './upnp-gateway.ts';

/** What became of the wish for a port on the router. */
export interface PortMappingStatus {
  readonly state: 'searching' | 'mapped' | 'none';
  /** The router's protocol, while mapped. */
  readonly protocol?: MappingProtocol;
  /** Address and port that lead here, as the router says. */
  readonly external?: SocketAddress;
  /** Why there is none. */
  readonly reason?: string;
}

export interface PortMapperDeps {
  /** The IPv4 router of this node; undefined when there is none. */
  gateway(): Promise<string | undefined>;
  /** Tells why no mapping is wanted, or undefined. */
  notNeeded(): string | undefined;
  /** Our TCP port. */
  readonly port: number;
  /** Called with the address that leads here, and with undefined when it does no more. */
  onChange(external: SocketAddress | undefined): void;
  /** Ways to ask a router, in the order in which they are tried; all known ones except in tests. */
  readonly ways?: readonly MappingWay[];
  readonly options: PortMappingOptions;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Finds out whether a router speaks one protocol. Rejects when it does not. */
export type MappingWay = (
  host: string,
  options: PortMappingOptions,
  signal: AbortSignal,
) => MappingGateway | Promise<MappingGateway>;

const WAYS: readonly MappingWay[] = [
  (host, options) => createPcpGateway({ host, options }),
  (host, options) => createPmpGateway({ host, options }),
  (gateway, options, signal) => findUpnpGateway({ gateway, options, signal }),
];

interface Mapped {
  readonly host: string;
  readonly gateway: MappingGateway;
  readonly granted: GrantedMapping;
}

/** Keeps our TCP port mapped on the site's router, as long as that offers it. */
export class PortMapper implements AsyncDisposable {
  readonly #deps: PortMapperDeps;
  readonly #abort = new AbortController();
  readonly #running: Promise<void>;
  #nudge = new AbortController();
  #mapped: Mapped | undefined;
  #status: PortMappingStatus = { state: 'searching' };

  constructor(deps: PortMapperDeps) {
    this.#deps = deps;
    this.#running = this.#run();
    detach('port mapping', deps.log, this.#running);
  }

  status(): PortMappingStatus {
    return this.#status;
  }

  /** Another network has another router: the mapping is checked at once. */
  networkChanged(): void {
    this.#nudge.abort();
  }

  async #run(): Promise<void> {
    const { clock, options } = this.#deps;
    const { signal } = this.#abort;
    while (!signal.aborted) {
      let pauseMs = options.retryMs;
      try {
        const { lifetimeSeconds } = await this.#refresh(signal);
        const seconds = lifetimeSeconds === 0 ? options.lifetimeSeconds : lifetimeSeconds;
        pauseMs = Math.max(options.minRenewMs, (seconds / 2) * 1_000);
      } catch (error) {
        if (signal.aborted) return;
        this.#set({ state: 'none', reason: messageOf(error) });
      }
      await sleep(pauseMs, clock, AbortSignal.any([signal, this.#nudge.signal]));
      if (this.#nudge.signal.aborted) this.#nudge = new AbortController();
    }
  }

  /** Makes the mapping, or renews it. Rejects with TunnelError when there is none now. */
  async #refresh(signal: AbortSignal): Promise<GrantedMapping> {
    const why = this.#deps.notNeeded();
    if (why !== undefined) throw new TunnelError('refused', why);
    const host = await this.#deps.gateway();
    if (host === undefined) throw new TunnelError('unreachable', 'there is no router');
    const known = this.#mapped?.host === host ? this.#mapped : undefined;
    const { gateway, granted } = (known && (await this.#renew(known, signal))) ?? (await this.#search(host, signal));
    this.#mapped = { host, gateway, granted };
    this.#set({ state: 'mapped', protocol: gateway.protocol, external: granted.external });
    return granted;
  }

  async #renew({ gateway, granted }: Mapped, signal: AbortSignal) {
    try {
      return { gateway, granted: await gateway.map(this.#request(granted.external.port), signal) };
    } catch (error) {
      this.#deps.log.debug('port mapping was not renewed', { protocol: gateway.protocol, error: messageOf(error) });
      return undefined;
    }
  }

  async #search(host: string, signal: AbortSignal) {
    const reasons: string[] = [];
    for (const way of this.#deps.ways ?? WAYS) {
      signal.throwIfAborted();
      try {
        const gateway = await way(host, this.#deps.options, signal);
        return { gateway, granted: await gateway.map(this.#request(this.#deps.port), signal) };
      } catch (error) {
        reasons.push(messageOf(error));
      }
    }
    throw new TunnelError('unreachable', reasons.join('; '));
  }

  #request(externalPort: number) {
    const { port, options } = this.#deps;
    return { internalPort: port, externalPort, lifetimeSeconds: options.lifetimeSeconds };
  }

  #set(status: PortMappingStatus): void {
    const before = this.#status;
    this.#status = status;
    if (status.state === 'none') this.#mapped = undefined;
    const [was, is] = [before.external, status.external];
    if (was?.host === is?.host && was?.port === is?.port) return;
    const { protocol, reason } = status;
    const external = is && `${is.host}:${is.port}`;
    this.#deps.log.info(is === undefined ? 'port mapping is gone' : 'port mapped', { external, protocol, reason });
    this.#deps.onChange(is);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#abort.signal.aborted) return;
    const mapped = this.#mapped;
    this.#abort.abort(new TunnelError('closed', 'the tunnel is closing'));
    await this.#running;
    if (mapped === undefined) return;
    const { options, log } = this.#deps;
    try {
      const limit = AbortSignal.timeout(options.releaseTimeoutMs);
      await mapped.gateway.unmap(this.#request(mapped.granted.external.port), limit);
    } catch (error) {
      log.debug('the port mapping was not taken back', { error: messageOf(error) }); // it ends with its lifetime
    }
  }
}
