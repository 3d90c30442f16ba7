import { setImmediate } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { RuleExclusion, ServiceRule } from '@edgemesh/core';
import { type Attachment, type AttachmentSize, createAttachment, createNotes } from './attachment.ts';
import { type Bpf, loadBpf } from './bpf.ts';
import { findProcessGroups, type ProcessGroups } from './cgroup.ts';
import {
  encodeFrontend,
  encodePlace,
  encodeSlotKey,
  excludedBy,
  type IsExcluded,
  servedFrontends,
  slotCount,
  slotsOf,
} from './entries.ts';

export interface SocketLbOptions {
  /** Group of pods in cgroup v2, relative to the root of the hierarchy. Default: kubelet's, where there is one. */
  readonly podGroup?: string;
  /** For how long sockets are served after a `beat`, in seconds. */
  readonly agentTimeoutSeconds: number;
}

/**
 * Load balancing at connect(2): a socket that wants a Service is connected to an endpoint right away, and no packet of it is ever
 * translated. It does a part of what the rules of nftables do, for processes of this node, and they do the rest.
 */
export interface SocketLb extends Disposable {
  /**
   * Serves these rules as far as sockets can, and no others. Rules that keep their identity cost a look. Calls must not overlap. After a
   * failure (LinuxError) nothing is served, until the next call.
   */
  apply(rules: Iterable<ServiceRule>, exclusions: readonly RuleExclusion[]): Promise<void>;
  /** Says that the agent lives, and looks whether the group of the pods has come, or was made anew. Calls must not overlap. */
  beat(): Promise<void>;
  /** Frontends that are served. */
  readonly frontends: number;
  /** Whose sockets are. */
  readonly groups: ProcessGroups;
}

/** Smallest maps, and entries written before other work has its turn. */
const MIN_SIZE: AttachmentSize = { frontends: 1_024, slots: 4_096 };
const ENTRIES_PER_TURN = 2_048;

/** Looks whether this machine can do it, and loads the programs. Rejects with LinuxError where it cannot; its message says why. */
export async function openSocketLb(options: SocketLbOptions): Promise<SocketLb> {
  const [bpf, groups] = await Promise.all([loadBpf(), findProcessGroups(options.podGroup)]);
  return createSocketLb(bpf, groups, options);
}

/** The same with a bpf(2) and groups that are given. Throws LinuxError where the programs cannot be loaded. */
export function createSocketLb(bpf: Bpf, groups: ProcessGroups, options: SocketLbOptions): SocketLb {
  const notes = createNotes(bpf);
  try {
    createAttachment(bpf, groups, notes, { frontends: 1, slots: 1 })[Symbol.dispose]();
  } catch (error) {
    bpf.close(notes);
    throw error;
  }
  return new SocketLbImpl(bpf, groups, notes, options);
}

interface Served {
  /** As the plan has it. */
  readonly rule: ServiceRule;
  /** Number of its slots' keys, never used again: a socket sees all endpoints of one version of a rule, or of another. */
  readonly id: number;
  /** Encoded, as hex. */
  readonly frontends: readonly string[];
  readonly slots: number;
  /** The call that had the rule last. */
  seen: number;
}

class SocketLbImpl implements SocketLb {
  readonly #bpf: Bpf;
  readonly #notes: number;
  readonly #options: SocketLbOptions;
  #groups: ProcessGroups;
  #attachment: Attachment | undefined;
  #isClosed = false;
  #served = new Map<string, Served>();
  #exclusions: readonly RuleExclusion[] = [];
  #isExcluded: IsExcluded = () => false;
  #nextId = 1;
  #round = 0;
  #used = { frontends: 0, slots: 0 };

  constructor(bpf: Bpf, groups: ProcessGroups, notes: number, options: SocketLbOptions) {
    this.#bpf = bpf;
    this.#notes = notes;
    this.#groups = groups;
    this.#options = options;
  }

  get groups(): ProcessGroups {
    return this.#groups;
  }

  get frontends(): number {
    return this.#used.frontends;
  }

  async apply(rules: Iterable<ServiceRule>, exclusions: readonly RuleExclusion[]): Promise<void> {
    try {
      if (!isDeepStrictEqual(exclusions, this.#exclusions)) {
        this.#exclusions = exclusions;
        this.#isExcluded = excludedBy(exclusions);
        await this.#load([...rules]);
      } else await this.#change(rules);
    } catch (error) {
      this.#stop();
      throw error;
    }
  }

  async beat(): Promise<void> {
    try {
      this.#goOn();
      const groups = await findProcessGroups(this.#options.podGroup);
      if (isDeepStrictEqual(groups, this.#groups)) return;
      this.#groups = groups;
      await this.#load([...this.#served.values()].map(({ rule }) => rule));
    } catch (error) {
      this.#stop();
      throw error;
    }
  }

  #goOn(): void {
    const nanoseconds = BigInt(this.#options.agentTimeoutSeconds) * 1_000_000_000n;
    this.#attachment?.serveUntil(process.hrtime.bigint() + nanoseconds);
  }

  /** Writes what differs, and everything into larger maps where these are full. */
  async #change(rules: Iterable<ServiceRule>): Promise<void> {
    const round = ++this.#round;
    const next: Served[] = [];
    const gone: Served[] = [];
    let kept = 0;
    for (const rule of rules) {
      const served = this.#served.get(rule.key);
      if (served !== undefined) {
        served.seen = round;
        kept++;
        if (served.rule === rule) continue;
        gone.push(served);
      }
      next.push(this.#render(rule));
    }
    if (kept < this.#served.size)
      for (const served of this.#served.values()) if (served.seen !== round) gone.push(served);
    if (next.length === 0 && gone.length === 0) return;
    const more = total(next);
    const size = this.#attachment?.size;
    // Both versions of a rule are there for a moment.
    if (
      size === undefined ||
      this.#used.slots + more.slots > size.slots ||
      this.#used.frontends + more.frontends > size.frontends
    ) {
      for (const { rule } of gone) this.#served.delete(rule.key);
      return await this.#load([...[...this.#served.values()].map(({ rule }) => rule), ...next.map(({ rule }) => rule)]);
    }
    const { maps } = this.#attachment as Attachment;
    await this.#write(maps, next);
    const written = new Set(next.flatMap(({ frontends }) => frontends));
    const left = gone.flatMap(({ frontends }) => frontends).filter((frontend) => !written.has(frontend));
    const dead = gone.flatMap(({ id, slots }) => Array.from({ length: slots }, (_, slot) => encodeSlotKey(id, slot)));
    await this.#remove(
      maps.frontends,
      left.map((key) => Buffer.from(key, 'hex')),
    );
    await this.#remove(maps.slots, dead);
    for (const { rule } of gone) this.#served.delete(rule.key);
    for (const served of next) this.#served.set(served.rule.key, served);
    const less = total(gone);
    this.#used.frontends += more.frontends - less.frontends;
    this.#used.slots += more.slots - less.slots;
  }

  async #remove(map: number, keys: readonly Buffer[]): Promise<void> {
    for (let from = 0; from < keys.length; from += ENTRIES_PER_TURN) {
      const some = keys.slice(from, from + ENTRIES_PER_TURN);
      this.#bpf.remove(map, Buffer.concat(some), some.length);
      if (some.length === ENTRIES_PER_TURN) await setImmediate();
    }
  }

  /** Serves these rules from maps of their own; the old ones serve until they are complete. */
  async #load(rules: readonly ServiceRule[]): Promise<void> {
    const next = rules.map((rule) => this.#render(rule));
    const used = total(next);
    const before = this.#attachment;
    if (used.frontends === 0) {
      this.#attachment = undefined;
    } else {
      const attachment = createAttachment(this.#bpf, this.#groups, this.#notes, {
        frontends: roomFor(used.frontends, MIN_SIZE.frontends),
        slots: roomFor(used.slots, MIN_SIZE.slots),
      });
      try {
        await this.#write(attachment.maps, next);
        this.#attachment = attachment;
        this.#goOn();
        attachment.attach();
      } catch (error) {
        this.#attachment = before;
        attachment[Symbol.dispose]();
        throw error;
      }
    }
    before?.[Symbol.dispose]();
    this.#served = new Map(next.map((served) => [served.rule.key, served]));
    this.#used = used;
  }

  #render(rule: ServiceRule): Served {
    const frontends = servedFrontends(rule, this.#isExcluded).map((frontend) => encodePlace(frontend).toString('hex'));
    const slots = frontends.length === 0 ? 0 : slotCount(rule);
    return { rule, id: this.#nextId++, frontends, slots, seen: this.#round };
  }

  /** Slots first: a frontend must not be seen before them. */
  async #write(maps: Attachment['maps'], list: readonly Served[]): Promise<void> {
    const slots = entriesWriter(this.#bpf, maps.slots);
    for (const { rule, id, slots: count } of list) {
      if (count === 0) continue;
      let slot = 0;
      for (const place of slotsOf(rule)) await slots.put(encodeSlotKey(id, slot++), encodePlace(place));
    }
    slots.flush();
    const frontends = entriesWriter(this.#bpf, maps.frontends);
    for (const { rule, id, frontends: keys } of list) {
      for (const key of keys) await frontends.put(Buffer.from(key, 'hex'), encodeFrontend(id, rule));
    }
    frontends.flush();
  }

  [Symbol.dispose](): void {
    this.#stop();
    if (!this.#isClosed) this.#bpf.close(this.#notes);
    this.#isClosed = true;
  }

  #stop(): void {
    this.#attachment?.[Symbol.dispose]();
    this.#attachment = undefined;
    this.#served.clear();
    this.#used = { frontends: 0, slots: 0 };
  }
}

function total(list: Iterable<Served>): { frontends: number; slots: number } {
  const sum = { frontends: 0, slots: 0 };
  for (const { frontends, slots } of list) {
    sum.frontends += frontends.length;
    sum.slots += slots;
  }
  return sum;
}

/** Twice what is needed: entries of the old version of a rule stay until the new ones are in place. */
const roomFor = (entries: number, least: number) => Math.max(least, 2 ** Math.ceil(Math.log2(entries * 2)));

function entriesWriter(bpf: Bpf, map: number) {
  let keys: Buffer[] = [];
  let values: Buffer[] = [];
  const flush = () => {
    bpf.update(map, Buffer.concat(keys), Buffer.concat(values), keys.length);
    keys = [];
    values = [];
  };
  return {
    /** Resolves at once, but for every so many entries. */
    put(key: Buffer, value: Buffer): Promise<void> | undefined {
      keys.push(key);
      values.push(value);
      if (keys.length < ENTRIES_PER_TURN) return undefined;
      flush();
      return setImmediate();
    },
    flush,
  };
}
