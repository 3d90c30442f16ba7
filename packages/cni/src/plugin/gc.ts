import type { LeaseOwner } from '../ipam/leases.ts';
import { type Call, recordFile, usesOwnIpam } from './context.ts';
import { deleteLinks, rangesOrNone } from './del.ts';
import { callDelegate, delegateConfig, delegateIsModern, ipamConfig } from './delegate.ts';
import { hostLinkName } from './links.ts';

/**
 * GC: gives back what belongs to attachments that the runtime no longer knows. The specification has the runtime hold ADD
 * and DEL back meanwhile. Every link has a lease or a record that is older, so going through those finds all.
 */
export async function gc(call: Call): Promise<void> {
  const { config, leases } = call;
  const valid = new Set(config.validAttachments.map(({ containerID, ifname }) => `${containerID}/${ifname}`));
  const keep = ({ containerId, ifname }: LeaseOwner) => valid.has(`${containerId}/${ifname}`);
  if (!usesOwnIpam(config)) {
    await gcForeign(call, keep);
    return;
  }
  const stale = leases.all().filter((lease) => !keep(lease));
  const names = stale.map(({ containerId, ifname }) => hostLinkName(config.name, containerId, ifname));
  await deleteLinks(call, [...new Set(names)]);
  leases.reclaim(keep);
}

async function gcForeign(call: Call, keep: (owner: LeaseOwner) => boolean): Promise<void> {
  const { request, config, ports, folder } = call;
  const whole = config.delegate !== undefined;
  const type = whole ? (config.delegate?.type as string) : config.ipam.type;
  const modern = await delegateIsModern(ports, request, type);
  const ranges = rangesOrNone(call);
  const document = whole ? delegateConfig(config, ranges, modern) : ipamConfig(config, ranges, modern);
  for (const name of ports.files.list(`${folder}/attachments`)) {
    const owner = parseRecord(ports.files.read(`${folder}/attachments/${name}`));
    if (owner === undefined || keep(owner)) continue;
    const linkName = hostLinkName(config.name, owner.containerId, owner.ifname);
    if (!whole) await deleteLinks(call, [linkName]);
    if (!modern) await callDelegate(ports, request, { verb: 'DEL', type, config: document, attachment: owner });
    ports.files.remove(recordFile(call, linkName));
  }
  if (modern) await callDelegate(ports, request, { verb: 'GC', type, config: document });
}

function parseRecord(text: string | undefined): LeaseOwner | undefined {
  try {
    const { containerId, ifname } = JSON.parse(text ?? '') as Partial<LeaseOwner>;
    return containerId !== undefined && ifname !== undefined ? { containerId, ifname } : undefined;
  } catch {
    return undefined; // torn by a power cut: the delegate's own state is all there is
  }
}
