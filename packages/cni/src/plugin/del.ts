import { type Call, ownerOf, recordFile, requireRanges, usesOwnIpam } from './context.ts';
import { callDelegate, delegateConfig, ipamConfig } from './delegate.ts';
import { ipBatch, throwFirst } from './ip-batch.ts';
import { hostLinkName } from './links.ts';
import { unguard } from './spoof-guard.ts';

/** DEL: link first, address last, so that no address is given out while a pod still has it. Missing things are fine. */
export async function del(call: Call): Promise<void> {
  const { request, config, ports, leases } = call;
  const owner = ownerOf(request);
  const linkName = hostLinkName(config.name, owner.containerId, owner.ifname);
  if (config.delegate !== undefined) {
    const type = config.delegate.type as string;
    await callDelegate(ports, request, { verb: 'DEL', type, config: delegateConfig(config, rangesOrNone(call)) });
  } else {
    await deleteLinks(call, [linkName]);
    if (usesOwnIpam(config)) leases.release(owner);
    else {
      const ipam = ipamConfig(config, rangesOrNone(call));
      await callDelegate(ports, request, { verb: 'DEL', type: config.ipam.type, config: ipam });
    }
  }
  if (!usesOwnIpam(config)) ports.files.remove(recordFile(call, linkName));
}

/** Deletes the host's ends, and with them the pods'. */
export async function deleteLinks({ ports, config }: Call, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const failed = await ipBatch(
    ports.execute,
    names.map((name) => `link del dev ${name}`),
  );
  throwFirst(failed, ({ message }) => /Cannot find device|No such device/.test(message));
  if (config.spoofCheck) await unguard(ports.execute, names);
}

/** A pod must be deletable when the agent's file is gone. */
export function rangesOrNone(call: Call): ReturnType<typeof requireRanges> {
  try {
    return requireRanges(call);
  } catch {
    return []; // host-local finds leases by their owner
  }
}
