import { randomInt } from 'node:crypto';
import {
  type Cidr,
  cidrContains,
  parseCidr,
  parseIp,
  type RuleExclusion,
  type RuleFrontend,
  type ServiceRule,
} from '@edgemesh/core';
import { problemOf } from '../nft/render.ts';
import { FRONTEND_BYTES, PLACE_BYTES, SLOT_KEY_BYTES } from './program.ts';

type AddressFrontend = Extract<RuleFrontend, { kind: 'address' }>;

/** Says of a frontend whether it must not be touched. */
export type IsExcluded = (frontend: AddressFrontend) => boolean;

/** Exclusions of a plan. An external address may be the node's own, so what its ports exclude is left to nftables, which knows. */
export function excludedBy(exclusions: readonly RuleExclusion[]): IsExcluded {
  const ranges: Cidr[] = [];
  const services = new Set<string>();
  const ports = new Set<number>();
  for (const exclusion of exclusions) {
    if (exclusion.kind === 'range') {
      const cidr = parseCidr(exclusion.cidr);
      if (cidr !== undefined) ranges.push(cidr);
    } else if (exclusion.protocol === 'TCP') {
      if (exclusion.kind === 'address') services.add(`${exclusion.address} ${exclusion.port}`);
      else ports.add(exclusion.port);
    }
  }
  return ({ address, port }) => {
    if (ports.has(port) || services.has(`${address} ${port}`)) return true;
    if (ranges.length === 0) return false;
    const bytes = parseIp(address);
    return bytes !== undefined && ranges.some((range) => cidrContains(range, bytes));
  };
}

/**
 * The frontends of a rule that a socket can be sent on from: TCP, an address that answers everybody alike, and a choice that needs no
 * memory of clients. The rest is left to nftables.
 */
export function servedFrontends(rule: ServiceRule, isExcluded: IsExcluded): readonly AddressFrontend[] {
  if (rule.protocol !== 'TCP' || rule.pick.kind === 'clientIP' || slotCount(rule) === 0) return [];
  if (problemOf(rule) !== undefined) return [];
  return rule.frontends.filter(
    (frontend): frontend is AddressFrontend =>
      frontend.kind === 'address' &&
      frontend.origin === 'any' &&
      !frontend.masquerade &&
      !frontend.sourceRanges?.length &&
      !isExcluded(frontend),
  );
}

/** Where everything goes to the agent, one slot says it all. */
export const slotCount = (rule: ServiceRule): number =>
  rule.routable.length === 0 ? Math.min(1, rule.tunnelled) : rule.routable.length + rule.tunnelled;

/** The places that connections to a rule go to in turn or at random. */
export function* slotsOf(
  rule: ServiceRule,
): Generator<{ readonly address: string; readonly port: number }, void, void> {
  yield* rule.routable;
  const { listener } = rule;
  if (listener === undefined) return;
  for (let i = rule.routable.length; i < slotCount(rule); i++) yield listener;
}

/** An address and port as programs compare them. */
export function encodePlace({ address, port }: { readonly address: string; readonly port: number }): Buffer {
  const place = Buffer.alloc(PLACE_BYTES);
  const bytes = parseIp(address);
  if (bytes === undefined) throw new TypeError(`${address} is not an address`);
  place.set(bytes, 16 - bytes.length);
  if (bytes.length === 4) place.fill(0xff, 10, 12);
  place.writeUInt16BE(port, 16);
  return place;
}

/**
 * What is known of a frontend: the rule, over how many slots, how one is chosen, and whose turn it is: not always the first one's, or
 * after each change of endpoints all nodes would begin with the same.
 */
export function encodeFrontend(id: number, rule: ServiceRule, turn = randomInt(2 ** 32)): Buffer {
  const value = Buffer.alloc(FRONTEND_BYTES);
  value.writeUInt32LE(id, 0);
  value.writeUInt32LE(slotCount(rule), 4);
  value.writeUInt32LE(rule.pick.kind === 'roundRobin' ? 1 : 0, 8);
  value.writeUInt32LE(turn, 12);
  return value;
}

/** The key of a slot. */
export function encodeSlotKey(rule: number, slot: number): Buffer {
  const key = Buffer.alloc(SLOT_KEY_BYTES);
  key.writeUInt32LE(rule, 0);
  key.writeUInt32LE(slot, 4);
  return key;
}
