import { type Cidr, formatCidr, parseCidr } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import { CNI_DEFAULTS } from '../options.ts';
import { isContainerId, isIfname } from './request.ts';
import { parseDns, parseResult } from './result.ts';
import type { CniAttachment, CniDns, CniResult, CniVerb } from './types.ts';
import { type CniVersion, requireVersion } from './versions.ts';

export type Json = Readonly<Record<string, unknown>>;

/** A checked network configuration. */
export interface NetworkConfig {
  readonly cniVersion: CniVersion;
  /** Name of the network: key of leases. */
  readonly name: string;
  readonly bridge: string;
  /** Undefined: what the agent says, else the default. */
  readonly mtu: number | undefined;
  readonly hairpinMode: boolean;
  /** A pod may send from its own addresses only. */
  readonly spoofCheck: boolean;
  /** Ours, or the name of an IPAM plugin. */
  readonly ipam: { readonly type: string };
  /** Ranges of our IPAM; empty: what the agent says of this node. */
  readonly ranges: readonly Cidr[];
  readonly dataDir: string;
  readonly nodeFile: string;
  /** Configuration of a whole plugin that does the work. */
  readonly delegate: Json | undefined;
  readonly dns: CniDns;
  readonly prevResult: CniResult | undefined;
  readonly validAttachments: readonly CniAttachment[];
  /** The document itself, for delegates. */
  readonly raw: Json;
}

/** Our own IPAM's name in `ipam.type`. */
export const OWN_IPAM = 'edgemesh';

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Reads and checks the network configuration from stdin. */
export function parseConfig(input: string, verb: CniVerb): NetworkConfig {
  const raw = parseJson(input);
  const cniVersion = requireVersion(raw.cniVersion ?? '0.3.1', verb);
  const name = raw.name;
  if (typeof name !== 'string' || !isContainerId(name)) {
    throw new CniError('invalid-config', `name ${JSON.stringify(name)} is not a network name`);
  }
  const ipam = optional(raw, 'ipam', isObject, 'an object') ?? {};
  const delegate = optional(raw, 'delegate', isObject, 'an object');
  if (delegate !== undefined && !isProgram(delegate.type)) {
    throw new CniError('invalid-config', `delegate.type ${JSON.stringify(delegate.type)} is not the name of a plugin`);
  }
  const ipamType = ipam.type ?? OWN_IPAM;
  if (!isProgram(ipamType)) throw new CniError('invalid-config', `ipam.type ${JSON.stringify(ipamType)} is no name`);
  const bridge = optional(raw, 'bridge', isString, 'a text') ?? CNI_DEFAULTS.bridge;
  if (!isIfname(bridge)) throw new CniError('invalid-config', `bridge ${JSON.stringify(bridge)} is not a link name`);
  return {
    cniVersion,
    name,
    bridge,
    mtu: parseMtu(raw.mtu),
    hairpinMode: optional(raw, 'hairpinMode', isBoolean, 'true or false') ?? false,
    spoofCheck: optional(raw, 'spoofCheck', isBoolean, 'true or false') ?? true,
    ipam: { type: ipamType },
    ranges: parseRanges(ipam),
    dataDir: optional(ipam, 'dataDir', isPath, 'an absolute path') ?? CNI_DEFAULTS.dataDir,
    nodeFile: optional(raw, 'nodeFile', isPath, 'an absolute path') ?? CNI_DEFAULTS.nodeFile,
    delegate,
    dns: parseDns(raw.dns),
    prevResult: isObject(raw.prevResult) ? parseResult(raw.prevResult, 'prevResult') : undefined,
    validAttachments: verb === 'GC' ? parseAttachments(raw) : [],
    raw,
  };
}

function parseJson(input: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(input);
  } catch (cause) {
    throw new CniError('decode', 'the network configuration on stdin is no JSON', { details: String(cause), cause });
  }
  if (!isObject(value)) throw new CniError('decode', 'the network configuration on stdin is no object');
  return value;
}

const isString = (value: unknown): value is string => typeof value === 'string';
const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
const isPath = (value: unknown): value is string => typeof value === 'string' && /^\/[^\0]*$/.test(value);
/** A file name, never a path: delegates are only sought in CNI_PATH. */
const isProgram = (value: unknown): value is string => typeof value === 'string' && /^[A-Za-z0-9][\w.-]*$/.test(value);

function optional<T>(object: Json, field: string, is: (value: unknown) => value is T, what: string): T | undefined {
  const value = object[field];
  if (value === undefined || value === null || value === '') return undefined;
  if (is(value)) return value;
  throw new CniError('invalid-config', `${field} ${JSON.stringify(value)} must be ${what}`);
}

function parseMtu(value: unknown): number | undefined {
  if (value === undefined || value === null || value === 0) return undefined;
  // 1280 is the least that IPv6 works with (RFC 8200, section 5); 65535 the most that a veth takes.
  if (typeof value === 'number' && Number.isInteger(value) && value >= 576 && value <= 65_535) return value;
  throw new CniError('invalid-config', `mtu ${JSON.stringify(value)} must be a number from 576 to 65535`);
}

/** `ranges` as host-local writes them ([[{subnet}]]), as a plain list of CIDRs, or a single `subnet`. */
function parseRanges(ipam: Json): Cidr[] {
  const entries = [
    ...(ipam.subnet === undefined ? [] : [ipam.subnet]),
    ...(Array.isArray(ipam.ranges) ? ipam.ranges : []),
  ];
  return entries.flat().map((entry) => {
    const subnet: unknown = isObject(entry) ? entry.subnet : entry;
    const cidr = typeof subnet === 'string' ? parseCidr(subnet) : undefined;
    if (cidr === undefined) throw new CniError('invalid-config', `ipam range ${JSON.stringify(entry)} is not a CIDR`);
    if (cidr.prefix > cidr.bytes.length * 8 - 2) {
      throw new CniError('invalid-config', `ipam range ${formatCidr(cidr)} has no room for a gateway and a pod`);
    }
    return cidr;
  });
}

function parseAttachments(raw: Json): CniAttachment[] {
  const list = raw['cni.dev/valid-attachments'] ?? raw['cni.dev/attachments'];
  if (!Array.isArray(list)) {
    throw new CniError('invalid-config', 'GC needs cni.dev/valid-attachments, the list of what to keep');
  }
  return list.map((entry: unknown) => {
    if (isObject(entry) && isString(entry.containerID) && isString(entry.ifname)) {
      return { containerID: entry.containerID, ifname: entry.ifname };
    }
    throw new CniError('invalid-config', `${JSON.stringify(entry)} in cni.dev/valid-attachments is no attachment`);
  });
}
