import { networkInterfaces } from 'node:os';
import { canonicalIp, type NodeInfo } from '@edgemesh/core';
import type { InboundRequest } from '@edgemesh/tunnel';
import type { AgentContext } from './context.ts';

/**
 * What peers may reach here beside endpoints: the ssh port of this node's own addresses, where SOCKS5 is in use on this node too.
 * Pods have addresses of their own, so nothing but the node itself is opened.
 */
export function nodeTargets(
  context: () => Pick<AgentContext, 'config' | 'nodeName' | 'view'>,
): (request: InboundRequest) => boolean {
  return ({ kind, address, port }) => {
    const { config, nodeName, view } = context();
    const { enable, socks5Proxy } = config.modules.edgeProxy;
    if (!enable || !socks5Proxy.enable || kind !== 'tcp' || port !== socks5Proxy.sshPort) return false;
    return isOwnAddress(address, view.current.nodes.get(nodeName));
  };
}

/** True for addresses of this machine's interfaces, loopback included, and for those that the cluster knows the node by. */
export function isOwnAddress(address: string, node: Pick<NodeInfo, 'internalIPs'> | undefined): boolean {
  if (node?.internalIPs.includes(address)) return true;
  if (address === '127.0.0.1' || address === '::1') return true;
  return Object.values(networkInterfaces()).some((list) => list?.some((info) => canonicalIp(info.address) === address));
}
