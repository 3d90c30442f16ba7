import { createHash } from 'node:crypto';
import {
  type Cidr,
  canonicalIp,
  cidrContains,
  formatCidr,
  parseCidr,
  type RuleEndpoint,
  type RuleExclusion,
  type RuleFrontend,
  type RulesPlan,
  type ServiceRule,
} from '@edgemesh/core';
import { LinuxError } from '../errors.ts';
import { LINUX_DEFAULTS } from '../options.ts';
import { SHARED_SETS } from './skeleton.ts';
import { frontendKey, pickChain, pickRule, type Space, slotKey, slotsMap, spaceOf, transportOf } from './spaces.ts';

/** One element of a set (`value` empty) or map. */
export interface Element {
  readonly set: string;
  readonly key: string;
  readonly value: string;
}

/** What one rule needs in the kernel. */
export interface Rendered {
  /** Elements that belong to this rule alone. */
  readonly elements: readonly Element[];
  /** Local endpoints that need a hairpin; other rules may have the same. */
  readonly hairpins: readonly string[];
  /** Shared chains `<space>_pick_<n>`. */
  readonly picks: readonly { readonly name: string; readonly rule: string }[];
  /** Chains of this rule alone, callees first. */
  readonly chains: readonly { readonly name: string; readonly rules: readonly string[] }[];
  /** Dynamic sets of this rule alone. */
  readonly sets: readonly { readonly name: string; readonly body: string }[];
}

/** A short name for what has a long one: nft limits names to 127 bytes and reserves keywords, so names start with a letter and digits follow. */
function hashName(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** Renders one rule that has no problem (see {@link problemOf}). Pure and deterministic. */
export function renderRule(rule: ServiceRule): Rendered {
  const elements: Element[] = [];
  const chains: Rendered['chains'][number][] = [];
  const sets: Rendered['sets'][number][] = [];
  const picks = new Map<string, string>();
  const affinity = rule.pick.kind === 'clientIP' ? renderAffinity(rule, chains, sets) : undefined;
  const slots = slotValues(rule);
  const transport = transportOf(rule);
  for (const frontend of rule.frontends) {
    const space = spaceOf(rule, frontend);
    const key = frontendKey(rule, frontend);
    const add = (role: string, value = '') => elements.push({ set: `${space.name}_${role}`, key, value });
    const choose = (count: number, mode: 'live' | 'kernel'): string => {
      if (affinity !== undefined) return `goto ${affinity[mode]}`;
      if (rule.pick.kind === 'roundRobin' && count > 1) return `goto ${ownRoundRobin(rule, space, count, chains)}`;
      picks.set(pickChain(space, transport, count), pickRule(space, transport, count, 'random'));
      return `goto ${pickChain(space, transport, count)}`;
    };
    if (rule.tunnelled > 0) add('live', choose(slots.length, 'live'));
    if (rule.routable.length > 0) add('kernel', choose(rule.routable.length, 'kernel'));
    else if (rule.tunnelled === 0 && rule.whenEmpty === 'drop') add('kernel', 'drop');
    else if (frontend.origin === 'any') add('bare');
    if (frontend.masquerade) add('masq');
    if (affinity === undefined) {
      for (const [n, value] of slots.entries()) {
        elements.push({ set: slotsMap(space, transport), key: slotKey(frontend, n), value });
      }
    }
    renderSourceRanges(rule, frontend, key, elements);
  }
  return {
    elements,
    hairpins: hairpinsOf(rule),
    picks: [...picks].map(([name, text]) => ({ name, rule: text })),
    chains,
    sets,
  };
}

/**
 * Why a rule cannot be rendered, or undefined when it can. Addresses and numbers come from objects of the cluster and end
 * up in text that nft parses: nothing but canonical addresses and plain numbers may pass.
 */
export function problemOf(rule: ServiceRule): string | undefined {
  const used = rule.tunnelled > 0 ? rule.listener : undefined;
  if (rule.tunnelled > 0 && used === undefined) return 'tunnelled endpoints and no listener';
  const places = [...rule.routable, ...(used === undefined ? [] : [used])];
  const ports = [...places, ...rule.frontends].map((place) => place.port);
  const badPort = ports.find((port) => !isWithin(port, 65_535));
  if (badPort !== undefined) return `${badPort} is not a port`;
  if (!Number.isInteger(rule.tunnelled) || rule.tunnelled < 0) return `${rule.tunnelled} is not a number of endpoints`;
  if (rule.pick.kind === 'clientIP' && !isWithin(rule.pick.timeoutSeconds, MAX_AFFINITY_SECONDS)) {
    return `${rule.pick.timeoutSeconds} is not a timeout in seconds`;
  }
  const addresses = places.map((place) => place.address);
  for (const frontend of rule.frontends) if (frontend.kind === 'address') addresses.push(frontend.address);
  for (const address of addresses) {
    if (canonicalIp(address) !== address) return `${address} is not a canonical address`;
    if (address.includes(':') !== (rule.family === 6)) return `${address} is not IPv${rule.family}`;
  }
  const ranges = rule.frontends.flatMap((frontend) =>
    frontend.kind === 'address' ? (frontend.sourceRanges ?? []) : [],
  );
  const badRange = ranges.find((range) => parseCidr(range) === undefined);
  return badRange === undefined ? undefined : `${badRange} is not an address range`;
}

/** Kubernetes allows a day. */
const MAX_AFFINITY_SECONDS = 86_400;
const isWithin = (value: number, max: number) => Number.isInteger(value) && value >= 1 && value <= max;

const target = (endpoint: { readonly address: string; readonly port: number }) =>
  `${endpoint.address} . ${endpoint.port}`;

/** Routable endpoints first: so the fallback of a mixed Service port uses the same elements with a smaller modulus. */
function slotValues(rule: ServiceRule): string[] {
  const listener = rule.listener;
  return [
    ...rule.routable.map(target),
    // Where everything goes to the agent, one slot says it all.
    ...(listener === undefined
      ? []
      : Array.from({ length: rule.routable.length === 0 ? Math.min(rule.tunnelled, 1) : rule.tunnelled }, () =>
          target(listener),
        )),
  ];
}

/** Round robin needs a counter of its own: in a shared chain two Services called in turn would each see every other number. */
function ownRoundRobin(rule: ServiceRule, space: Space, count: number, chains: Rendered['chains'][number][]): string {
  const name = `rr_${space.name}_${count}_${hashName(rule.key)}`;
  if (!chains.some((chain) => chain.name === name))
    chains.push({ name, rules: [pickRule(space, transportOf(rule), count, 'inc')] });
  return name;
}

/** Local endpoints of a rule, each address once. */
export function hairpinsOf(rule: ServiceRule): readonly string[] {
  if (rule.frontends.length === 0) return [];
  return [...new Set(rule.routable.flatMap(({ local, address }) => (local ? [address] : [])))];
}

/** The element by which an endpoint that reaches itself is masqueraded. */
export function hairpinElement(address: string): Element {
  const set = SHARED_SETS.hairpin(address.includes(':') ? 6 : 4);
  return { set, key: `${address} . ${address}`, value: '' };
}

function renderSourceRanges(rule: ServiceRule, frontend: RuleFrontend, key: string, elements: Element[]): void {
  if (frontend.kind !== 'address' || !frontend.sourceRanges?.length || frontend.origin !== 'any') return;
  elements.push({ set: SHARED_SETS.limited(rule.family), key, value: '' });
  for (const range of widest(frontend.sourceRanges)) {
    if (range.includes(':') !== (rule.family === 6)) continue;
    elements.push({ set: SHARED_SETS.allowed(rule.family), key: `${key} . ${range}`, value: '' });
  }
}

/**
 * ClientIP affinity: one chain per endpoint that remembers the client in the endpoint's own set and translates, and a
 * chain that looks through those sets before it chooses at random. A set goes with its endpoint, so nobody stays pinned to
 * a dead one, and those of the others are not touched. The listener counts as one endpoint; the agent keeps affinity
 * among those behind it.
 */
function renderAffinity(
  rule: ServiceRule,
  chains: Rendered['chains'][number][],
  sets: Rendered['sets'][number][],
): { live: string; kernel: string } {
  const seconds = rule.pick.kind === 'clientIP' ? rule.pick.timeoutSeconds : 0;
  const type = rule.family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const client = rule.family === 4 ? 'ip saddr' : 'ip6 saddr';
  const family = rule.family === 4 ? 'ip' : 'ip6';
  const chainOf = (endpoint: Pick<RuleEndpoint, 'address' | 'port'>): { chain: string; set: string } => {
    const id = hashName(`${rule.key} ${target(endpoint)}`);
    const names = { chain: `ep_${id}`, set: `clients_${id}` };
    if (!chains.some((chain) => chain.name === names.chain)) {
      const to = rule.family === 4 ? `${endpoint.address}:${endpoint.port}` : `[${endpoint.address}]:${endpoint.port}`;
      const size = LINUX_DEFAULTS.maxAffinityClients;
      sets.push({ name: names.set, body: `type ${type}; flags dynamic,timeout; size ${size};` });
      chains.push({
        name: names.chain,
        rules: [
          // Its own rule: when the set is full the client is not remembered, but translated all the same.
          `update @${names.set} { ${client} timeout ${seconds}s }`,
          `meta l4proto { tcp, udp } dnat ${family} to ${to}`,
        ],
      });
    }
    return names;
  };
  const routable = rule.routable.map(chainOf);
  const listener = rule.listener !== undefined && rule.tunnelled > 0 ? chainOf(rule.listener) : undefined;
  const all = [...routable, ...(listener ? Array.from({ length: rule.tunnelled }, () => listener) : [])];
  const chooser = (mode: 'live' | 'kernel', options: readonly { chain: string; set: string }[]) => {
    const name = `aff_${mode}_${hashName(rule.key)}`;
    if (options.length === 0) return name;
    const known = new Map(options.map((option) => [option.chain, option]));
    const choices = options.map((option, n) => `${n} : goto ${option.chain}`).join(', ');
    chains.push({
      name,
      rules: [
        ...[...known.values()].map((option) => `${client} @${option.set} goto ${option.chain}`),
        `numgen random mod ${options.length} vmap { ${choices} }`,
      ],
    });
    return name;
  };
  return {
    kernel: chooser('kernel', routable),
    live: rule.tunnelled > 0 ? chooser('live', all) : '',
  };
}

/** Canonical ranges without those that lie inside another: interval sets refuse overlaps. */
export function widest(ranges: readonly string[]): string[] {
  const parsed = ranges.map((text): Cidr => {
    const cidr = parseCidr(text);
    if (cidr === undefined) throw new LinuxError('plan', `${text} is not an address range`);
    return cidr;
  });
  parsed.sort((a, b) => a.prefix - b.prefix);
  const kept: Cidr[] = [];
  for (const cidr of parsed) if (!kept.some((wide) => cidrContains(wide, cidr.bytes))) kept.push(cidr);
  // nft lists single addresses without their length.
  return kept.map((cidr) => formatCidr(cidr).replace(cidr.bytes.length === 4 ? /\/32$/ : /\/128$/, '')).sort();
}

/** Elements of the plan that belong to no rule. */
export function renderGlobals(plan: Pick<RulesPlan, 'exclusions' | 'internalSources'>): Element[] {
  const list: Element[] = [];
  for (const cidr of widest(plan.internalSources)) {
    list.push({ set: SHARED_SETS.internal(cidr.includes(':') ? 6 : 4), key: cidr, value: '' });
  }
  const ranges = plan.exclusions.flatMap((exclusion) => (exclusion.kind === 'range' ? [exclusion.cidr] : []));
  for (const cidr of widest(ranges)) {
    list.push({ set: SHARED_SETS.excludeRange(cidr.includes(':') ? 6 : 4), key: cidr, value: '' });
  }
  for (const exclusion of plan.exclusions) if (exclusion.kind !== 'range') list.push(renderExclusion(exclusion));
  return [...new Map(list.map((element) => [`${element.set} ${element.key}`, element])).values()];
}

function renderExclusion(exclusion: Exclude<RuleExclusion, { kind: 'range' }>): Element {
  if (!isWithin(exclusion.port, 65_535)) throw new LinuxError('plan', `${exclusion.port} is not a port to exclude`);
  const service = `${exclusion.protocol.toLowerCase()} . ${exclusion.port}`;
  if (exclusion.kind === 'localPort') return { set: SHARED_SETS.excludePort, key: service, value: '' };
  if (canonicalIp(exclusion.address) !== exclusion.address) {
    throw new LinuxError('plan', `${exclusion.address} is not a canonical address to exclude`);
  }
  const family = exclusion.address.includes(':') ? 6 : 4;
  return { set: SHARED_SETS.exclude(family), key: `${exclusion.address} . ${service}`, value: '' };
}
