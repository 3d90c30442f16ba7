import { canonicalIp } from '@edgemesh/core';
import { multiaddr } from '@multiformats/multiaddr';
import dnsPacket, { type Answer, type Packet } from 'dns-packet';
import type { SocketAddress } from '../../types.ts';
import { fromMultiaddr } from '../transport/multiaddrs.ts';

/** RFC 6762 section 17: no multicast DNS message is larger, IP and UDP headers included. */
export const MAX_MDNS_BYTES = 9_000;
/** RFC 6762 section 10: records that contain host addresses. */
const TTL_SECONDS = 120;
/** Addresses read from one message; a peer announces one or two. */
const MAX_SIGHTINGS = 32;
const DNSADDR = 'dnsaddr=';

/** A member of our mesh that announces itself on the LAN. Nothing is proved until noise and pnet say so. */
export interface Sighting {
  readonly peerId: string;
  readonly address: SocketAddress;
  /** The peer says goodbye (time to live 0). */
  readonly leaving: boolean;
}

export type MdnsMessage =
  | { readonly type: 'query' }
  | { readonly type: 'answer'; readonly sightings: readonly Sighting[] };

/**
 * Service name of a mesh. libp2p's mDNS specification names private networks `_p2p-X._udp.local` with a fingerprint of
 * the network; ours is derived from the mesh secret and does not reveal it.
 */
export function serviceName(lanTag: string): string {
  // a DNS label holds 63 octets
  return `_p2p-${lanTag.slice(0, 32)}._udp.local`;
}

export function encodeQuery(service: string): Uint8Array {
  return dnsPacket.encode({ type: 'query', questions: [{ type: 'PTR', name: service }] });
}

export interface Announcement {
  readonly peerId: string;
  /** Random label instead of the node name, which strangers on the LAN need not know. */
  readonly instance: string;
  /** Dialable from the link that this goes out on. */
  readonly address: SocketAddress;
  readonly leaving?: boolean;
}

/** PTR, TXT with `dnsaddr`, SRV and A: what both the libp2p specification and ordinary DNS-SD browsers expect. */
export function encodeAnnouncement(service: string, announcement: Announcement): Uint8Array {
  const { address, peerId, instance } = announcement;
  const ttl = announcement.leaving === true ? 0 : TTL_SECONDS;
  const name = `${instance}.${service}`;
  const host = `${instance}.local`;
  const dnsaddr = `${DNSADDR}/ip4/${address.host}/tcp/${address.port}/p2p/${peerId}`;
  return dnsPacket.encode({
    type: 'response',
    flags: dnsPacket.AUTHORITATIVE_ANSWER,
    answers: [
      { type: 'PTR', name: service, ttl, data: name },
      { type: 'TXT', name, ttl, data: [dnsaddr] },
    ],
    additionals: [
      { type: 'SRV', name, ttl, data: { port: address.port, target: host } },
      { type: 'A', name: host, ttl, data: address.host },
    ],
  });
}

/** Reads a message; undefined when it is malformed or not about our mesh. Never throws. */
export function decodeMdns(bytes: Uint8Array, service: string): MdnsMessage | undefined {
  const packet = decodePacket(bytes);
  if (packet === undefined) return undefined;
  if (packet.type === 'query') {
    const asked = (packet.questions ?? []).some(
      (question) =>
        question.name.toLowerCase() === service && (question.type === 'PTR' || String(question.type) === 'ANY'),
    );
    return asked ? { type: 'query' } : undefined;
  }
  const suffix = `.${service}`;
  const sightings = [...(packet.answers ?? []), ...(packet.additionals ?? [])]
    .filter((answer) => answer.name.toLowerCase().endsWith(suffix))
    .flatMap(readTxt)
    .slice(0, MAX_SIGHTINGS);
  return sightings.length === 0 ? undefined : { type: 'answer', sightings };
}

function decodePacket(bytes: Uint8Array): Packet | undefined {
  if (bytes.length > MAX_MDNS_BYTES) return undefined;
  try {
    return dnsPacket.decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch {
    return undefined; // somebody else's or broken; counted by the caller
  }
}

function readTxt(answer: Answer): Sighting[] {
  if (answer.type !== 'TXT') return [];
  const texts = Array.isArray(answer.data) ? answer.data : [answer.data];
  return texts.flatMap((text) => readDnsaddr(text.toString(), answer.ttl === 0) ?? []);
}

function readDnsaddr(text: string, leaving: boolean): Sighting | undefined {
  if (!text.startsWith(DNSADDR) || text.length > 255) return undefined;
  try {
    const parsed = multiaddr(text.slice(DNSADDR.length));
    const peerId = parsed.getComponents().at(-1);
    const address = fromMultiaddr(parsed);
    if (address === undefined || peerId?.name !== 'p2p' || peerId.value === undefined) return undefined;
    if (canonicalIp(address.host) === undefined || address.port === 0) return undefined;
    return { peerId: peerId.value, address, leaving };
  } catch {
    return undefined; // not a multiaddr
  }
}
