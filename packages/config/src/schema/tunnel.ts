import { choice, commaList, flag, integer, list, objects, port, section, text } from '../fields.ts';
import { anyText, cidr, filePath, interfaceName, ipAddress, nodeName, peerAddress } from '../formats.ts';

const OWN = 'is set by EdgeMesh itself and has no effect here';

/** Shared by agents that relay and by the server. Chosen for one relay of 1,000 nodes within 20,000 open files. */
export const relayLimitsSection = section(
  'What this process relays for others. A refusal names the limit that was hit.',
  {
    maxReservations: integer(4096, [0, 1_000_000], 'Nodes that may wait here to be reached.'),
    maxCircuits: integer(8000, [0, 1_000_000], 'Circuits at once, of whatever kind; most take two open files.'),
    maxCircuitsPerPeer: integer(
      1024,
      [0, 1_000_000],
      'Circuits of one node at once: one per peer for data, another for signals.',
    ),
    bandwidthPerPeer: integer(
      0,
      [0, 1_000_000_000_000],
      'Bytes relayed for one node, each direction. 0: not limited.',
      {
        unit: 'bytes/s',
      },
    ),
    bandwidth: integer(0, [0, 1_000_000_000_000], 'Bytes relayed for all nodes together. 0: not limited.', {
      unit: 'bytes/s',
    }),
    idleTimeout: integer(300, [1, 86_400], 'A relayed connection without bytes is closed after this time.', {
      unit: 's',
    }),
  },
);

export const pskSection = section('The secret that all members of the mesh share.', {
  enable: flag(true, 'Only let members with the secret in.'),
  path: text('/etc/edgemesh/psk', filePath, 'File with the secret.'),
});

export const rendezvousField = text(
  'EDGEMESH_PLAYGOUND',
  anyText,
  'Name of the mesh; nodes with another one are not seen.',
);
export const dhtField = choice(
  'off',
  ['on', 'off'],
  'Publish and look up nodes in the DHT of the mesh as well: for relays that do not name each other.',
);

export const staticPeersField = list(peerAddress, 'Peers to connect to without being told of them.');
const streams = (value: number, description: string) => integer(value, [1, 10_000_000], description);

const limitSection = section('Most streams through the tunnel.', {
  enable: flag(true, 'Apply these limits.'),
  tunnelBaseStreamIn: streams(10_240, 'Streams from all peers.'),
  tunnelBaseStreamOut: streams(10_240, 'Streams to all peers.'),
  tunnelPeerBaseStreamIn: streams(1024, 'Streams from one peer.'),
  tunnelPeerBaseStreamOut: streams(1024, 'Streams to one peer.'),
});

const relayNode = section('A node that relays.', {
  nodeName: text('', nodeName, 'Its Kubernetes node name.'),
  advertiseAddress: list(peerAddress, 'Where others reach it.'),
});

export const tunnelSection = section(
  'Connects nodes with each other across networks.',
  {
    enable: flag(false, 'Run the tunnel.', { apply: 'process' }),
    listenPort: port(20_006, 'Port for other nodes, and for relaying on relay nodes.'),
    listenAddress: list(ipAddress, 'Addresses to listen on. Empty: all, IPv4 and IPv6.'),
    transport: choice(
      'tcp',
      ['tcp', 'ws', 'quic'],
      'Transport of the tunnel; ws and quic are accepted, and tcp is used.',
    ),
    rendezvous: rendezvousField,
    advertiseAddress: list(peerAddress, 'Where others reach this node, besides what it finds out.'),
    relayNodes: objects(relayNode, ['nodeName'], 'Nodes that relay for others.', { apply: 'live' }),
    staticPeers: staticPeersField,
    dht: dhtField,
    mdns: flag(true, 'Find nodes of the same LAN by multicast.'),
    holePunch: choice('auto', ['auto', 'off'], 'Try to connect directly through NATs.'),
    portMapping: choice(
      'auto',
      ['auto', 'off'],
      'Have the router of the site pass on the port, by PCP, NAT-PMP or UPnP, where it offers that.',
    ),
    maxCandidates: integer(15, [1, 1000], 'Relays kept in mind.', {
      unused: 'all relays of relayNodes are kept in mind',
    }),
    heartbeatPeriod: integer(120, [1, 86_400], 'Time between checks of the connections to relays.', {
      unit: 's',
      unused: 'connections are watched all the time',
    }),
    finderPeriod: integer(60, [1, 86_400], 'Time between searches for relays.', {
      unit: 's',
      unused: 'relays are those of relayNodes, and lost ones are called again at once',
    }),
    psk: pskSection,
    tunnelLimitConfig: limitSection,
    relay: relayLimitsSection,
    listenInterfaces: commaList(interfaceName, 'Interfaces whose addresses are announced, with commas. "*": all.'),
    extraFilteredInterfaces: commaList(interfaceName, 'Interfaces whose addresses are never announced, with commas.'),
    metricConfig: section('Metrics on a port of their own, reachable from outside.', {
      enable: flag(false, 'Serve metrics there too.', { apply: 'process' }),
      port: port(9999, 'Port of these metrics.', { apply: 'process' }),
    }),
  },
  {
    mode: OWN,
    nodeName: OWN,
    configPath: OWN,
    enableIpfsLog: 'has no effect; set commonConfig.logLevel to debug instead',
    security: 'has had no effect since EdgeMesh 1.12; use psk',
  },
);

export const cniSection = section(
  'Pod network across nodes.',
  {
    enable: flag(false, 'Carry packets between pods of different networks.', { apply: 'process' }),
    lanMode: choice(
      'host-gw',
      ['host-gw', 'vxlan'],
      'How packets reach nodes of the same LAN: by plain routes, or by VXLAN where the network drops addresses of pods. The same on every node.',
    ),
    vxlanPort: integer(8472, [1, 65_535], 'UDP port of VXLAN; the same on every node.'),
    meshCIDRConfig: section('Which pod addresses are where.', {
      cloudCIDR: list(cidr, 'Pod ranges of cloud nodes.'),
      edgeCIDR: list(cidr, 'Pod ranges of edge nodes.'),
    }),
  },
  { encapsulateIP: OWN },
);
