import { formatIp, parseCidr, parseIp } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import { gatewayOf } from '../ipam/range.ts';
import { parseResult } from '../spec/result.ts';
import type { CniDns, CniResult } from '../spec/types.ts';
import { type Call, mtuOf, ownerOf, recordFile, requireRanges, usesOwnIpam } from './context.ts';
import { callDelegate, delegateConfig, ipamConfig } from './delegate.ts';
import { type BatchFailure, ipBatch, ipBatchIn, throwFirst } from './ip-batch.ts';
import {
  bridgeLine,
  bridgeLines,
  bridgeSettings,
  hostLines,
  hostLinkName,
  macOf,
  type PodAddress,
  type PodLink,
  podLines,
  podRoutes,
  podSettings,
} from './links.ts';
import { guard, unguard } from './spoof-guard.ts';

interface Allocation {
  readonly addresses: readonly PodAddress[];
  /** From a foreign IPAM. */
  readonly more: Pick<CniResult, 'routes' | 'dns'>;
}

/** ADD: an address from each range, a link from the pod to the bridge. Repeating it gives the same result. */
export async function add(call: Call): Promise<CniResult> {
  const { request, config, ports } = call;
  if (!ports.files.isNamespace(request.netns)) {
    throw new CniError('unknown-container', `${request.netns} is not a network namespace`);
  }
  const hostName = hostLinkName(config.name, request.containerId, request.ifname);
  if (!usesOwnIpam(config)) {
    ports.files.replace(recordFile(call, hostName), JSON.stringify(ownerOf(request)));
  }
  if (config.delegate !== undefined) {
    const type = config.delegate.type as string;
    const answer = await callDelegate(ports, request, {
      verb: 'ADD',
      type,
      config: delegateConfig(config, requireRanges(call)),
    });
    return parseResult(answer, `the result of ${type}`);
  }
  const before = usesOwnIpam(config) ? call.leases.of(ownerOf(request)) : [];
  const allocation = await allocate(call);
  const link = planLink(call, hostName, allocation.addresses);
  try {
    // Side by side: each waits for the kernel, and nothing runs in the pod before both are done.
    const guarded = config.spoofCheck ? guard(ports.execute, link) : undefined;
    await Promise.all([guarded, makeLinks(call, link, allocation)]);
  } catch (error) {
    // As if nothing had happened. The runtime sends DEL too, but need not.
    await ipBatch(ports.execute, [`link del dev ${hostName}`]);
    if (config.spoofCheck) await unguard(ports.execute, [hostName]);
    if (!usesOwnIpam(config)) await freeForeign(call).catch(() => undefined);
    else if (before.length === 0) call.leases.release(ownerOf(request));
    throw error;
  }
  return resultOf(call, link, allocation);
}

async function freeForeign(call: Call): Promise<void> {
  const { request, config, ports } = call;
  await callDelegate(ports, request, { verb: 'DEL', type: config.ipam.type, config: ipamConfig(config, []) });
}

async function allocate(call: Call): Promise<Allocation> {
  const { request, config, ports, leases } = call;
  if (usesOwnIpam(config)) {
    const ranges = requireRanges(call);
    const addresses = leases.lease(ownerOf(request), ranges).map((address, i) => {
      const range = ranges[i] as (typeof ranges)[number];
      return { address, gateway: formatIp(gatewayOf(range)), prefix: range.prefix };
    });
    return { addresses, more: { routes: [], dns: {} } };
  }
  const { type } = config.ipam;
  const needsRanges = type === 'host-local' && config.ranges.length === 0;
  const answer = await callDelegate(ports, request, {
    verb: 'ADD',
    type,
    config: ipamConfig(config, needsRanges ? requireRanges(call) : config.ranges),
  });
  const { ips, routes, dns } = parseResult(answer, `the result of ${type}`);
  if (ips.length === 0) throw new CniError('delegate', `${type} gave no address`);
  return { addresses: ips.map((ip) => toPodAddress(ip.address, ip.gateway)), more: { routes, dns } };
}

function toPodAddress(text: string, gateway: string | undefined): PodAddress {
  const range = parseCidr(text) as NonNullable<ReturnType<typeof parseCidr>>;
  const address = formatIp(parseIp(text.slice(0, text.indexOf('/'))) as Uint8Array);
  return { address, gateway: gateway ?? formatIp(gatewayOf(range)), prefix: range.prefix };
}

function planLink(call: Call, hostName: string, addresses: readonly PodAddress[]): PodLink {
  const { request, config } = call;
  return {
    hostName,
    hostMac: macOf(`host ${hostName}`),
    podName: request.ifname,
    podMac: macOf(`pod ${hostName}`),
    netns: request.netns,
    bridge: config.bridge,
    mtu: mtuOf(call),
    hairpin: config.hairpinMode,
    addresses,
  };
}

const exists = ({ line, message }: BatchFailure) => line.startsWith('link add') && /File exists/.test(message);

async function makeLinks(call: Call, link: PodLink, { more }: Allocation): Promise<void> {
  const { ports } = call;
  await ensureBridge(call, link);
  await lowerBridge(call, link);
  let failed = await ipBatch(ports.execute, hostLines(link));
  if (failed.some(exists)) {
    // Left by a call that was killed: make it anew, for nobody knows how far that one came.
    failed = await ipBatch(ports.execute, [`link del dev ${link.hostName}`, ...hostLines(link)]);
    if (failed.some(exists)) {
      throw new CniError('command', `the pod has an interface ${link.podName} already`, { details: link.netns });
    }
  }
  // An old bridge module does not isolate ports; pods then see each other directly, as with the bridge plugin.
  throwFirst(failed, ({ line }) => line.startsWith('link del') || line.includes('bridge_slave'));
  const others = more.routes.filter(({ dst }) => dst !== '0.0.0.0/0' && dst !== '::/0');
  throwFirst(await ipBatchIn(ports.execute, link.netns, podLines(link, others), podSettings(link)), ({ line }) =>
    line.includes('gso_max_size'),
  );
}

/** Without a process where the bridge is up and has our addresses: the usual case from the second pod on. */
async function ensureBridge({ ports }: Call, { bridge, mtu, addresses }: PodLink): Promise<void> {
  const present = ports.network.link(bridge)?.addresses ?? [];
  if (addresses.every(({ gateway }) => present.includes(gateway))) return;
  throwFirst(await ipBatch(ports.execute, [bridgeLine(bridge, mtu)]), exists);
  for (const [setting, value] of bridgeSettings(bridge, addresses)) ports.files.set(setting, value);
  throwFirst(await ipBatch(ports.execute, bridgeLines(bridge, addresses)), () => false);
}

/** What is too large for a port of the bridge is dropped without a word; for the bridge itself, the sender is told. */
async function lowerBridge({ ports }: Call, { bridge, mtu }: PodLink): Promise<void> {
  const present = Number(ports.files.read(`/sys/class/net/${bridge}/mtu`) ?? 0);
  if (present > mtu) throwFirst(await ipBatch(ports.execute, [`link set dev ${bridge} mtu ${mtu}`]), () => false);
}

function resultOf(call: Call, link: PodLink, { more }: Allocation): CniResult {
  const { config, request } = call;
  const earlier = config.prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} };
  const podIndex = earlier.interfaces.length + 2;
  const dns: CniDns = { ...earlier.dns, ...more.dns, ...config.dns };
  return {
    interfaces: [
      ...earlier.interfaces,
      { name: link.bridge, mac: macOf(`bridge ${link.bridge}`), mtu: link.mtu },
      { name: link.hostName, mac: link.hostMac, mtu: link.mtu },
      { name: link.podName, mac: link.podMac, mtu: link.mtu, sandbox: request.netns },
    ],
    ips: [
      ...earlier.ips,
      ...link.addresses.map(({ address, gateway }) => ({
        address: `${address}/${address.includes(':') ? 128 : 32}`,
        gateway,
        interface: podIndex,
      })),
    ],
    routes: [
      ...earlier.routes,
      ...podRoutes(link.addresses),
      ...more.routes.filter(({ dst }) => dst !== '0.0.0.0/0' && dst !== '::/0'),
    ],
    dns,
  };
}
