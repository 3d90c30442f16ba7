import type { SocketAddress } from '../types.ts';

/**
 * What is between us and the relays, as far as it shows.
 *
 * | kind | meaning | punching |
 * | --- | --- | --- |
 * | `none` | relays see our own address | not needed, or through firewalls |
 * | `port-preserving` | another address, the same port | works |
 * | `endpoint-independent` | one mapping for all relays | works |
 * | `symmetric` | a mapping per destination | cannot work |
 * | `unknown` | another port, and one relay only to ask | may work |
 */
export type NatKind = 'none' | 'port-preserving' | 'endpoint-independent' | 'symmetric' | 'unknown';

/** How one local port was seen by several relays. */
export interface Sighting {
  readonly local: SocketAddress;
  /** One per relay. */
  readonly observed: readonly SocketAddress[];
}

/** Judges one local port by its sightings; undefined when there are none. */
export function natKindOf(sighting: Sighting): NatKind | undefined {
  const [first, ...others] = sighting.observed;
  if (first === undefined) return undefined;
  if (others.some((other) => other.port !== first.port || other.host !== first.host)) return 'symmetric';
  if (first.host === sighting.local.host && first.port === sighting.local.port) return 'none';
  if (first.port === sighting.local.port) return 'port-preserving';
  return others.length > 0 ? 'endpoint-independent' : 'unknown';
}
