import { canonicalIp } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import type { CniResult } from '../spec/types.ts';
import { type Call, ownerOf, usesOwnIpam } from './context.ts';
import { rangesOrNone } from './del.ts';
import { callDelegate, delegateConfig, ipamConfig } from './delegate.ts';
import { ipJson } from './ip-batch.ts';
import { hostLinkName } from './links.ts';

interface LinkInfo {
  readonly ifname?: string;
  readonly flags?: readonly string[];
  readonly master?: string;
  readonly addr_info?: readonly { readonly local?: string }[];
}

interface RouteInfo {
  readonly dst?: string;
  readonly gateway?: string;
}

/** CHECK: the attachment is still as ADD left it, in the pod, on the host and in the books. */
export async function check(call: Call): Promise<void> {
  const { request, config, ports } = call;
  const { prevResult } = config;
  if (prevResult === undefined) throw new CniError('invalid-config', 'CHECK needs prevResult');
  if (!ports.files.isNamespace(request.netns)) {
    throw new CniError('unknown-container', `${request.netns} is not a network namespace`);
  }
  if (config.delegate !== undefined) {
    const type = config.delegate.type as string;
    await callDelegate(ports, request, { verb: 'CHECK', type, config: delegateConfig(config, rangesOrNone(call)) });
    return;
  }
  const addresses = ourAddresses(call, prevResult);
  if (usesOwnIpam(config)) checkLeases(call, addresses);
  else {
    const ipam = ipamConfig(config, rangesOrNone(call));
    await callDelegate(ports, request, { verb: 'CHECK', type: config.ipam.type, config: ipam });
  }
  await checkHost(call);
  await checkPod(call, addresses);
}

function ourAddresses({ request }: Call, result: CniResult): string[] {
  const index = result.interfaces.findIndex(
    ({ name, sandbox }) => name === request.ifname && sandbox === request.netns,
  );
  if (index < 0) throw wrong(`prevResult has no interface ${request.ifname} in ${request.netns}`);
  const own = result.ips.filter((ip) => ip.interface === index).map((ip) => ip.address.split('/')[0] as string);
  if (own.length === 0) throw wrong(`prevResult has no address for ${request.ifname}`);
  return own.map((address) => canonicalIp(address) ?? address);
}

function checkLeases({ leases, request }: Call, addresses: readonly string[]): void {
  const held = leases.of(ownerOf(request));
  const lost = addresses.find((address) => !held.includes(address));
  if (lost !== undefined) throw wrong(`the lease of ${lost} is gone`);
}

async function checkHost({ ports, config, request }: Call): Promise<void> {
  const name = hostLinkName(config.name, request.containerId, request.ifname);
  const [link] = ((await ipJson(ports.execute, ['link', 'show', 'dev', name])) ?? []) as LinkInfo[];
  if (link === undefined) throw wrong(`the host's link ${name} is gone`);
  if (link.master !== config.bridge) throw wrong(`link ${name} is not in bridge ${config.bridge}`);
  if (!link.flags?.includes('UP')) throw wrong(`link ${name} is down`);
}

async function checkPod({ ports, request }: Call, addresses: readonly string[]): Promise<void> {
  const { ifname, netns } = request;
  const [link] = ((await ipJson(ports.execute, ['addr', 'show', 'dev', ifname], netns)) ?? []) as LinkInfo[];
  if (link === undefined) throw wrong(`the pod has no interface ${ifname}`);
  if (!link.flags?.includes('UP')) throw wrong(`the pod's interface ${ifname} is down`);
  const present = (link.addr_info ?? []).map(({ local }) => local);
  const lost = addresses.find((address) => !present.includes(address));
  if (lost !== undefined) throw wrong(`the pod has lost its address ${lost}`);
  for (const family of new Set(addresses.map((address) => (address.includes(':') ? '-6' : '-4')))) {
    const routes = ((await ipJson(ports.execute, [family, 'route', 'show', 'default'], netns)) ?? []) as RouteInfo[];
    if (!routes.some(({ gateway }) => gateway !== undefined)) throw wrong(`the pod has no default route (${family})`);
  }
}

function wrong(message: string): CniError {
  return new CniError('check-failed', message);
}
