import { type Datagrams, MeshError } from '@edgemesh/core';
import type { AgentContext, AgentParts } from '../context.ts';
import { refusedDatagrams } from './connection-policy.ts';

/** A channel to a node, or one that has failed already where there is no tunnel: packets are lost, nothing throws. */
export function openPackets(parts: Pick<AgentParts, 'tunnel'>, nodeName: string): Datagrams {
  const channel = parts.tunnel?.openPackets(nodeName);
  return channel ?? refusedDatagrams(new MeshError('unreachable', 'the tunnel is not running', { retryable: true }));
}

/** What a peer gets that asks to send packets to pods of this node. */
export function acceptPackets(
  context: Pick<AgentContext, 'config' | 'nodeName'>,
  parts: Pick<AgentParts, 'podNetwork'>,
  peer: string,
): Datagrams | MeshError {
  const { config, nodeName } = context;
  if (parts.podNetwork !== undefined) return parts.podNetwork.accept(peer);
  return config.modules.edgeCNI.enable
    ? new MeshError('forbidden', `the pod network of node ${nodeName} is not running yet`, { retryable: true })
    : new MeshError('forbidden', `node ${nodeName} takes no packets: modules.edgeCNI.enable is false there`);
}
