import { cidrContains, formatCidr, parseIp } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import { podOffsets } from '../ipam/range.ts';
import { type Call, requireRanges, usesOwnIpam } from './context.ts';
import { callDelegate, delegateConfig, delegateIsModern, ipamConfig } from './delegate.ts';

/** STATUS: could ADD be served now? */
export async function status(call: Call): Promise<void> {
  const { config, ports, request } = call;
  try {
    const ranges = requireRanges(call);
    if (usesOwnIpam(config)) {
      checkRoom(call);
      return;
    }
    const whole = config.delegate !== undefined;
    const type = whole ? (config.delegate?.type as string) : config.ipam.type;
    if (!(await delegateIsModern(ports, request, type))) return;
    const document = whole ? delegateConfig(config, ranges, true) : ipamConfig(config, ranges, true);
    await callDelegate(ports, request, { verb: 'STATUS', type, config: document });
  } catch (error) {
    if (!(error instanceof CniError) || error.number === 50 || error.number === 51) throw error;
    throw new CniError('not-available', error.message, { ...(error.details ? { details: error.details } : {}) });
  }
}

function checkRoom(call: Call): void {
  const taken = call.leases.all().map((lease) => parseIp(lease.address) as Uint8Array);
  for (const range of requireRanges(call)) {
    const { first, last } = podOffsets(range);
    const used = taken.filter((address) => cidrContains(range, address)).length;
    if (BigInt(used) > last - first) {
      throw new CniError('not-available', `all ${used} addresses of ${formatCidr(range)} are taken`);
    }
  }
}
