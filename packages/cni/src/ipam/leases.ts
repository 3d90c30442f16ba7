import { type Cidr, cidrContains, formatCidr, formatIp, parseIp } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import { CNI_DEFAULTS } from '../options.ts';
import type { Files } from '../ports.ts';
import { addressAt, podOffsets, toNumber } from './range.ts';

/** Who has an address. */
export interface LeaseOwner {
  readonly containerId: string;
  readonly ifname: string;
}

export interface Lease extends LeaseOwner {
  readonly address: string;
}

export interface LeaseBook {
  /** One address of each range for the owner; those it has already are kept. Throws `exhausted`, keeping none that is new. */
  lease(owner: LeaseOwner, ranges: readonly Cidr[]): readonly string[];
  /** Addresses of the owner. */
  of(owner: LeaseOwner): readonly string[];
  release(owner: LeaseOwner): void;
  /** Releases what `keep` does not want, unreadable leases included, and returns it. */
  reclaim(keep: (owner: LeaseOwner) => boolean): readonly Lease[];
  all(): readonly Lease[];
}

/**
 * Leases as files, one per address, named like it and holding its owner. A lease is made by link(2), which succeeds for one
 * caller only: no lock is held, so none can be left behind by a crash, and a hundred callers at once get a hundred
 * addresses. The files stay over reboots until DEL or GC.
 */
export function createLeaseBook(files: Files, folder: string): LeaseBook {
  const fileOf = (address: string) => `${folder}/${address}`;
  const all = () => readAll(files, folder);
  const of = (owner: LeaseOwner) => all().filter((lease) => isSame(lease, owner));
  return {
    all,
    of: (owner) => of(owner).map((lease) => lease.address),
    lease(owner, ranges) {
      const taken = all();
      if (taken.length >= CNI_DEFAULTS.maxLeases) {
        throw new CniError('exhausted', `this node has ${taken.length} leases, the most that are kept (maxLeases)`);
      }
      const mine = taken.filter((lease) => isSame(lease, owner)).map((lease) => lease.address);
      const text = JSON.stringify({ containerId: owner.containerId, ifname: owner.ifname });
      const used = new Set(taken.map((lease) => lease.address));
      const fresh: string[] = [];
      try {
        return ranges.map((range) => {
          const kept = mine.find((address) => cidrContains(range, parseIp(address) as Uint8Array));
          if (kept !== undefined) return kept;
          const address = takeFree({ files, folder, range, used, text });
          fresh.push(address);
          return address;
        });
      } catch (error) {
        for (const address of fresh) files.remove(fileOf(address));
        throw error;
      }
    },
    release(owner) {
      for (const lease of of(owner)) files.remove(fileOf(lease.address));
    },
    reclaim(keep) {
      const gone = all().filter((lease) => !keep(lease));
      for (const lease of gone) files.remove(fileOf(lease.address));
      return gone;
    },
  };
}

const isSame = (a: LeaseOwner, b: LeaseOwner) => a.containerId === b.containerId && a.ifname === b.ifname;

function readAll(files: Files, folder: string): Lease[] {
  const leases: Lease[] = [];
  for (const address of files.list(folder)) {
    if (parseIp(address) === undefined) continue;
    const text = files.read(`${folder}/${address}`);
    // Released meanwhile.
    if (text === undefined) continue;
    leases.push({ address, ...parseOwner(text) });
  }
  return leases;
}

/** A power cut may leave an empty file. Its address stays taken, by nobody, until GC. */
function parseOwner(text: string): LeaseOwner {
  try {
    const { containerId, ifname } = JSON.parse(text) as Partial<LeaseOwner>;
    if (typeof containerId === 'string' && typeof ifname === 'string') return { containerId, ifname };
  } catch {
    // Falls through to nobody.
  }
  return { containerId: '', ifname: '' };
}

interface Search {
  readonly files: Files;
  readonly folder: string;
  readonly range: Cidr;
  readonly used: ReadonlySet<string>;
  readonly text: string;
}

/** The next free address behind the last one given out, so that a fresh pod does not inherit connections of a dead one. */
function takeFree({ files, folder, range, used, text }: Search): string {
  const { first, last } = podOffsets(range);
  const count = last - first + 1n;
  const memory = `${folder}/last.${formatCidr(range).replace('/', '_')}`;
  const start = startOffset(files.read(memory), range);
  const scan = count < BigInt(CNI_DEFAULTS.maxScan) ? count : BigInt(CNI_DEFAULTS.maxScan);
  for (let i = 0n; i < scan; i++) {
    const offset = first + ((start - first + i) % count);
    const address = formatIp(addressAt(range, offset));
    if (used.has(address) || !files.create(`${folder}/${address}`, text)) continue;
    files.replace(memory, address);
    return address;
  }
  throw new CniError('exhausted', `all ${count} addresses of ${formatCidr(range)} are taken`, {
    details: 'delete pods, give the node a larger podCIDR, or let the runtime run GC',
  });
}

function startOffset(last: string | undefined, range: Cidr): bigint {
  const { first, last: end } = podOffsets(range);
  const bytes = last === undefined ? undefined : parseIp(last);
  if (bytes === undefined || !cidrContains(range, bytes)) return first;
  const next = toNumber(bytes) - toNumber(range.bytes) + 1n;
  return next < first || next > end ? first : next;
}
