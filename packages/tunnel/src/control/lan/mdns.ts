import { randomBytes } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import {
  type Cidr,
  type Clock,
  cidrContains,
  type Logger,
  messageOf,
  parseCidr,
  parseIp,
  type Random,
  type Timer,
} from '@edgemesh/core';
import type { SocketAddress } from '../../types.ts';
import type { ControlMetrics } from '../metrics.ts';
import { isLoopbackHost } from '../own-addresses.ts';
import { decodeMdns, encodeAnnouncement, encodeQuery, type Sighting, serviceName } from './mdns-message.ts';

/** One link to speak multicast DNS on. */
export interface MdnsInterface {
  readonly name: string;
  /** IPv4 address of this node on the link. */
  readonly host: string;
  readonly cidr: string;
  /** Where our control port is dialable from this link. */
  readonly announce: SocketAddress;
}

export interface MdnsOptions {
  readonly lanTag: string;
  readonly peerId: string;
  /** UDP port; 5353 but in tests. */
  readonly port: number;
  /** Links as they are now. */
  readonly interfaces: () => readonly MdnsInterface[];
  readonly onSighting: (sighting: Sighting) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: ControlMetrics;
  /** Pause between queries when nothing happens, in milliseconds. */
  readonly intervalMs: number;
  /** How often interfaces are looked at, in milliseconds. */
  readonly interfaceIntervalMs: number;
}

/** Multicast DNS on all links. */
export interface Mdns extends AsyncDisposable {
  /** Asks who is there, at most once a second. */
  query(): void;
}

/** RFC 6762 section 3. */
const GROUP = '224.0.0.251';
/** RFC 6762 section 11: all multicast DNS goes out with 255. */
const MULTICAST_TTL = 255;
/** RFC 6762 section 6: no record is multicast more often on one link, in milliseconds. */
const MIN_ANSWER_GAP_MS = 1_000;
/** RFC 6762 section 6: delay of a shared answer, in milliseconds. */
const ANSWER_DELAY_MS = { min: 20, spread: 100 };
/** Queries and announcements after a link came up, in milliseconds after that. */
const START_PATTERN_MS = [0, 1_000, 3_000];

/** Starts on all links; links that come later are joined, a link that fails is tried again. */
export function createMdns(options: MdnsOptions): Mdns {
  return new MulticastDns(options);
}

class MulticastDns implements Mdns {
  readonly #options: MdnsOptions;
  readonly #links = new Map<string, MdnsLink>();
  #timers: Timer[] = [];
  #lastQueryAt = Number.NEGATIVE_INFINITY;
  #disposed = false;

  constructor(options: MdnsOptions) {
    this.#options = options;
    this.#lookAtInterfaces();
    this.#queryForever();
  }

  query(): void {
    const now = this.#options.clock.now();
    if (now - this.#lastQueryAt < MIN_ANSWER_GAP_MS) return;
    this.#lastQueryAt = now;
    for (const link of this.#links.values()) link.query();
  }

  #lookAtInterfaces(): void {
    const wanted = new Map(this.#options.interfaces().map((link) => [JSON.stringify(link), link]));
    for (const [key, link] of this.#links) {
      if (wanted.has(key) && !link.failed) continue;
      this.#links.delete(key);
      link.close();
    }
    for (const [key, link] of wanted) {
      if (!this.#links.has(key)) this.#links.set(key, new MdnsLink(link, this.#options));
    }
    this.#again(this.#options.interfaceIntervalMs, () => this.#lookAtInterfaces());
  }

  #queryForever(): void {
    const { intervalMs, random } = this.#options;
    this.#again(intervalMs * (0.8 + 0.4 * random()), () => {
      this.query();
      this.#queryForever();
    });
  }

  #again(ms: number, run: () => void): void {
    if (this.#disposed) return;
    const timer = this.#options.clock.after(ms, () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
      run();
    });
    this.#timers.push(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    for (const timer of this.#timers) timer.cancel();
    await Promise.all([...this.#links.values()].map((link) => link.goodbye()));
    this.#links.clear();
  }
}

/** One socket, joined to the group on one interface address: works without any default route. */
class MdnsLink {
  failed = false;
  readonly #link: MdnsInterface;
  readonly #options: MdnsOptions;
  readonly #service: string;
  readonly #subnet: Cidr | undefined;
  readonly #instance = randomBytes(8).toString('hex');
  readonly #socket: Socket;
  readonly #timers = new Set<Timer>();
  #ready = false;
  #closed = false;
  #answerPending = false;
  #lastAnswerAt = Number.NEGATIVE_INFINITY;

  constructor(link: MdnsInterface, options: MdnsOptions) {
    this.#link = link;
    this.#options = options;
    this.#service = serviceName(options.lanTag);
    this.#subnet = parseCidr(link.cidr);
    this.#socket = createSocket({ type: 'udp4', reuseAddr: true });
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('message', (message, from) => this.#receive(message, from));
    this.#socket.bind(options.port, '0.0.0.0', () => this.#join());
  }

  #join(): void {
    if (this.#closed) return;
    try {
      this.#socket.addMembership(GROUP, this.#link.host);
      this.#socket.setMulticastInterface(this.#link.host);
      this.#socket.setMulticastTTL(MULTICAST_TTL);
      // several agents on one machine find each other too
      this.#socket.setMulticastLoopback(true);
      this.#socket.unref();
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#ready = true;
    for (const ms of START_PATTERN_MS) {
      this.#later(ms, () => {
        this.query();
        this.#announce();
      });
    }
  }

  query(): void {
    this.#send(encodeQuery(this.#service), 'query-sent');
  }

  /** The sender must be on this link: every socket hears the multicast of all links. */
  #receive(message: Buffer, from: RemoteInfo): void {
    const source = parseIp(from.address);
    const here = this.#subnet !== undefined && source !== undefined && cidrContains(this.#subnet, source);
    if (!here) return;
    const decoded = decodeMdns(message, this.#service);
    const { metrics } = this.#options;
    if (decoded === undefined) {
      metrics.mdnsPackets.with('ignored').add();
      return;
    }
    metrics.mdnsPackets.with(decoded.type).add();
    if (decoded.type === 'query') this.#scheduleAnswer();
    else for (const sighting of decoded.sightings) this.#see(sighting, from.address);
  }

  /** Only an address that the announcer itself sends from is believed, so that nobody can make us dial third parties. */
  #see(sighting: Sighting, from: string): void {
    if (sighting.peerId === this.#options.peerId) return;
    const { host } = sighting.address;
    if (host !== from && !(isLoopbackHost(host) && isLoopbackHost(from))) return;
    this.#options.onSighting(sighting);
  }

  #scheduleAnswer(): void {
    if (this.#answerPending) return;
    this.#answerPending = true;
    const { clock, random } = this.#options;
    const gap = this.#lastAnswerAt + MIN_ANSWER_GAP_MS - clock.now();
    this.#later(Math.max(ANSWER_DELAY_MS.min + ANSWER_DELAY_MS.spread * random(), gap), () => {
      this.#answerPending = false;
      this.#announce();
    });
  }

  #announce(): void {
    this.#lastAnswerAt = this.#options.clock.now();
    this.#send(this.#announcement(false), 'announced');
  }

  #announcement(leaving: boolean): Uint8Array {
    const { peerId } = this.#options;
    return encodeAnnouncement(this.#service, {
      peerId,
      instance: this.#instance,
      address: this.#link.announce,
      leaving,
    });
  }

  #send(message: Uint8Array, outcome: string, done?: () => void): void {
    if (!this.#ready || this.#closed) {
      done?.();
      return;
    }
    this.#options.metrics.mdnsPackets.with(outcome).add();
    this.#socket.send(message, this.#options.port, GROUP, (error) => {
      if (error !== null) this.#fail(error);
      done?.();
    });
  }

  #later(ms: number, run: () => void): void {
    const timer = this.#options.clock.after(ms, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }

  #fail(error: unknown): void {
    if (this.#closed) return;
    this.failed = true;
    this.#options.log.debug('multicast DNS does not work on this interface, retrying', {
      interface: this.#link.name,
      address: this.#link.host,
      error: messageOf(error),
    });
    this.close();
  }

  /** Tells the link that we leave, then closes. */
  goodbye(): Promise<void> {
    return new Promise((resolve) => {
      this.#send(this.#announcement(true), 'goodbye', () => {
        this.close();
        resolve();
      });
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#socket.close();
  }
}
