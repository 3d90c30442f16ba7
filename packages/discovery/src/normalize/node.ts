import { formatCidr, type KubeObject, type NodeInfo, parseCidr } from '@edgemesh/core';
import { addressOf, describe, fieldsOf, listOf, stringMapOf } from './read.ts';
import { createReport, type Normalised, type Report } from './report.ts';

const ZONE_LABELS = ['topology.kubernetes.io/zone', 'failure-domain.beta.kubernetes.io/zone'] as const;

/** Normalises core/v1 Node. Bad addresses and ranges are dropped and reported. */
export function normaliseNode(object: KubeObject): Normalised<NodeInfo> {
  const { metadata } = object;
  const report = createReport('Node', '', metadata.name);
  const labels = stringMapOf(metadata.labels);
  const zone = ZONE_LABELS.map((label) => labels[label]).find((value) => value);
  const value: NodeInfo = {
    name: metadata.name,
    labels,
    internalIPs: readInternalIPs(object, report),
    podCIDRs: readPodCidrs(object, report),
    ...(zone !== undefined && { zone }),
  };
  return { value, problems: report.problems };
}

function readInternalIPs(object: KubeObject, report: Report): readonly string[] {
  const addresses = new Set<string>();
  for (const [i, raw] of listOf(fieldsOf(object.status).addresses).entries()) {
    const entry = fieldsOf(raw);
    if (entry.type !== 'InternalIP') continue;
    const address = addressOf(entry.address);
    if (address === undefined)
      report.problem(`status.addresses[${i}].address`, `is not an address: ${describe(entry.address)}`);
    else addresses.add(address);
  }
  return [...addresses];
}

function readPodCidrs(object: KubeObject, report: Report): readonly string[] {
  const spec = fieldsOf(object.spec);
  const listed = listOf(spec.podCIDRs);
  const raw = listed.length > 0 ? listed : spec.podCIDR === undefined || spec.podCIDR === null ? [] : [spec.podCIDR];
  const ranges = new Set<string>();
  for (const [i, entry] of raw.entries()) {
    if (entry === '') continue;
    const cidr = typeof entry === 'string' && entry.length <= 64 ? parseCidr(entry) : undefined;
    if (cidr === undefined) report.problem(`spec.podCIDRs[${i}]`, `is not a CIDR: ${describe(entry)}`);
    else ranges.add(formatCidr(cidr));
  }
  return [...ranges];
}
