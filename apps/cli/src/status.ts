import type { Status } from './agent-client.ts';
import { bytes, duration, milliseconds, socketAddress, table } from './text.ts';

/** What an operator looks at first. */
export function showStatus(status: Status): string {
  const { catalog, flows } = status;
  const age = catalog.ageMs === null ? 'never confirmed' : `confirmed ${duration(catalog.ageMs)} ago`;
  return [
    `${status.node}, agent ${status.version}, up ${duration(status.uptimeMs)}`,
    `${catalog.services} Services, ${catalog.endpoints} endpoints, ${catalog.source}, ${age}`,
    `carries ${flows.tcp} TCP connections and ${flows.udp} UDP flows`,
    '',
    'Modules',
    table(
      ['module', 'state', 'reason'],
      status.modules.map(({ name, state, reason }) => [name, state, reason]),
    ),
    '',
    'Relays',
    showRelays(status.relays),
    '',
    'Peers',
    showPeers(status.peers),
  ].join('\n');
}

function showRelays(relays: Status['relays']): string {
  if (relays.length === 0) return '  none configured: only nodes on the same LAN are reached';
  return table(
    ['relay', 'address', 'state', 'RTT', ''],
    relays.map(({ nodeName, addresses, connectedAddress, state, rttMs, reason }) => {
      const address = connectedAddress ?? addresses[0];
      return [nodeName ?? '-', address ? socketAddress(address) : '-', state, milliseconds(rttMs), reason ?? ''];
    }),
  );
}

function showPeers(peers: Status['peers']): string {
  if (peers.length === 0) return '  none yet: a session opens with the first traffic to a node';
  return table(
    ['node', 'path', 'state', 'RTT', 'address', 'in', 'out', 'streams', ''],
    peers.map(({ node, path, state, rttMs, address, bytesIn, bytesOut, streams, reason }) => [
      node,
      path ?? '-',
      state,
      milliseconds(rttMs),
      address ?? '-',
      bytes(bytesIn),
      bytes(bytesOut),
      String(streams),
      reason ?? '',
    ]),
  );
}
