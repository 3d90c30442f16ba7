import type { Cidr } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import { createLeaseBook, type LeaseBook } from '../ipam/leases.ts';
import { readNodeFile } from '../ipam/node-file.ts';
import { CNI_DEFAULTS } from '../options.ts';
import type { PluginPorts } from '../ports.ts';
import { type NetworkConfig, OWN_IPAM } from '../spec/config.ts';
import type { CniRequest } from '../spec/types.ts';

/** One call of the plugin: the request, its configuration and what it works on. */
export interface Call {
  readonly request: CniRequest;
  readonly config: NetworkConfig;
  readonly ports: PluginPorts;
  readonly leases: LeaseBook;
  /** Folder of this network's state. */
  readonly folder: string;
}

export function createCall(request: CniRequest, config: NetworkConfig, ports: PluginPorts): Call {
  const folder = `${config.dataDir}/${config.name}`;
  return { request, config, ports, folder, leases: createLeaseBook(ports.files, folder) };
}

export const ownerOf = ({ containerId, ifname }: CniRequest) => ({ containerId, ifname });
export const usesOwnIpam = (config: NetworkConfig) => config.delegate === undefined && config.ipam.type === OWN_IPAM;

/** Ranges of this node: as configured, else as the agent wrote. May be empty. */
export function knownRanges({ config, ports }: Call): readonly Cidr[] {
  return config.ranges.length > 0 ? config.ranges : (readNodeFile(ports.files, config.nodeFile)?.ranges ?? []);
}

/** The ranges, or the error that tells the runtime to come again. */
export function requireRanges(call: Call): readonly Cidr[] {
  const ranges = knownRanges(call);
  if (ranges.length > 0) return ranges;
  const { nodeFile } = call.config;
  const there = call.ports.files.exists(nodeFile);
  throw new CniError('try-again', 'this node has no pod addresses yet', {
    details: there
      ? `${nodeFile} names no podCIDRs: does Node.spec.podCIDRs have any?`
      : `${nodeFile} is missing: is the agent running with modules.edgeCNI.enable? Or set ipam.ranges.`,
  });
}

/** MTU for a new pod link. */
export function mtuOf({ config, ports }: Call): number {
  return config.mtu ?? readNodeFile(ports.files, config.nodeFile)?.mtu ?? CNI_DEFAULTS.mtu;
}

/** The file that remembers an attachment whose addresses somebody else keeps, for GC of plugins that know none. */
export function recordFile({ folder }: Call, linkName: string): string {
  return `${folder}/attachments/${linkName}.json`;
}
