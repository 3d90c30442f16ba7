import type { SocketAddress } from '../types.ts';
import type { ControlPlaneOptions } from './control-options.ts';
import { type InterfaceAddress, ownAddresses, readInterfaces, usableInterfaces } from './own-addresses.ts';
import type { OwnFacts } from './own-record.ts';
import { parseAdvertised } from './relays/relay-address.ts';

/** Bounds of our own record; readers accept as many. */
const MAX_OWN_ADDRESSES = 64;
const MAX_OWN_RELAYS = 16;

export interface OwnFactsDeps {
  readonly options: ControlPlaneOptions;
  /** Port of advertised addresses that name none. */
  readonly defaultPort: number;
  listenAddresses(): readonly SocketAddress[];
  /** Peer ids of the relays in use, nearest first. */
  relays(): readonly string[];
}

/** What this node can say of itself at the moment. */
export class OwnFactsReader {
  readonly #deps: OwnFactsDeps;
  readonly #advertised: readonly SocketAddress[];
  /** Addresses beyond these that were found to lead here. */
  found: readonly SocketAddress[] = [];

  constructor(deps: OwnFactsDeps) {
    this.#deps = deps;
    this.#advertised = (deps.options.advertise ?? []).map((text) => parseAdvertised(text, deps.defaultPort));
  }

  /** Interface addresses that peers may be told about. */
  interfaces(): InterfaceAddress[] {
    const { listenInterfaces = [], extraFilteredInterfaces: filtered = [] } = this.#deps.options;
    return usableInterfaces(readInterfaces(), { listenInterfaces, filtered });
  }

  read(): OwnFacts {
    const { options, listenAddresses, relays } = this.#deps;
    const advertised = [...this.#advertised, ...this.found];
    const filtered = options.extraFilteredInterfaces ?? [];
    const addresses = ownAddresses(listenAddresses(), this.interfaces(), advertised, filtered);
    return {
      nodeName: options.nodeName,
      peerId: options.identity.peerId,
      lanAddresses: addresses.lan.slice(0, MAX_OWN_ADDRESSES),
      publicAddresses: addresses.public.slice(0, MAX_OWN_ADDRESSES),
      relays: relays().slice(0, MAX_OWN_RELAYS),
      capabilities: [...(options.serveRelay ? ['relay'] : []), ...(options.capabilities ?? [])],
    };
  }
}
