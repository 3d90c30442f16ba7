import { networkInterfaces } from 'node:os';
import { CNI_DEFAULTS, NETWORK_DEFAULTS } from '@edgemesh/cni';
import type { AgentConfig } from '@edgemesh/config';
import { loadQuietDial, monitorNetwork, readDefaultGateway } from '@edgemesh/linux';
import { createLocalDialer } from '@edgemesh/proxy-l4';
import { createTunnel, type InboundHandler, readMeshSecrets, type Tunnel } from '@edgemesh/tunnel';
import type { AgentContext, AgentModule } from '../context.ts';
import { createInboundPolicy } from '../inbound-policy.ts';
import { nodeTargets } from '../own-addresses.ts';
import { acceptPackets } from '../pods/packets.ts';

/** Addresses of the pod network are reached through the tunnel: it must not be sought there. */
const POD_LINKS = [NETWORK_DEFAULTS.tunName, CNI_DEFAULTS.bridge];

type TunnelConfig = AgentConfig['modules']['edgeTunnel'];

/** Connects this node with the others, and lets them reach what this one serves. */
export const tunnelModule: AgentModule = {
  name: 'tunnel',
  section: 'edgeTunnel',
  isWanted: ({ modules }) => modules.edgeTunnel.enable,
  async start(room, run) {
    const context = room.context();
    await using stack = new AsyncDisposableStack();
    const inbound = stack.use(
      createInboundPolicy({
        view: context.view,
        nodeName: context.nodeName,
        local: createLocalDialer(),
        policy: room.connectionPolicy,
        alsoAllowed: nodeTargets(room.context),
        packets: (peer) => acceptPackets(room.context(), room.parts, peer),
        metrics: context.metrics,
      }),
    );
    const tunnel = stack.use(await startTunnel(context, inbound));
    room.parts.tunnel = tunnel;
    room.reachability.follow(tunnel, run.signal);
    stack.defer(() => {
      if (room.parts.tunnel === tunnel) room.parts.tunnel = undefined;
    });
    room.describe('relay', () => room.parts.tunnel?.relayStatus());
    room.describe('nat', () => room.parts.tunnel?.nat().kind);
    room.describe('reachability', () => room.parts.tunnel && describeReach(room.parts.tunnel));
    room.describe('portMapping', () => room.parts.tunnel?.portMapping());
    return stack.move();
  },
};

/** Starts the tunnel as the configuration says. A node that `relayNodes` names relays for the others. */
async function startTunnel(context: AgentContext, inbound: InboundHandler): Promise<Tunnel> {
  const { config, nodeName } = context;
  const tunnel = config.modules.edgeTunnel;
  const gatewayIfWanted = tunnel.portMapping === 'auto' ? { gateway: readDefaultGateway } : {};
  const here = tunnel.relayNodes.find((relay) => relay.nodeName === nodeName);
  return createTunnel(
    {
      nodeName,
      stateDir: `${config.commonConfig.dataDir}/tunnel`,
      secrets: await readMeshSecrets(tunnel.psk, tunnel.rendezvous),
      holePunch: tunnel.holePunch === 'auto',
      session: sessionLimits(tunnel.tunnelLimitConfig),
      relay: {
        maxReservations: tunnel.relay.maxReservations,
        maxCircuits: tunnel.relay.maxCircuits,
        maxCircuitsPerPeer: tunnel.relay.maxCircuitsPerPeer,
        maxBytesPerSecondPerPeer: tunnel.relay.bandwidthPerPeer,
        maxBytesPerSecond: tunnel.relay.bandwidth,
        circuitIdleMs: tunnel.relay.idleTimeout * 1000,
      },
      control: {
        listen: listenAddresses(tunnel),
        relays: relaysFor(tunnel, nodeName),
        peers: tunnel.staticPeers,
        advertise: [...tunnel.advertiseAddress, ...(here?.advertiseAddress ?? [])],
        mdns: tunnel.mdns,
        dht: tunnel.dht === 'on',
        watchNetwork: (onEvent) => monitorNetwork({ onEvent }),
        serveRelay: here !== undefined,
        listenInterfaces: tunnel.listenInterfaces,
        extraFilteredInterfaces: [
          config.commonConfig.bridgeDeviceName,
          ...POD_LINKS,
          ...tunnel.extraFilteredInterfaces,
        ],
      },
    },
    { inbound, log: context.log, metrics: context.metrics, loadQuietDial, ...gatewayIfWanted },
  );
}

/** The relays of the configuration without this node itself. */
export function relaysFor(tunnel: TunnelConfig, nodeName: string) {
  return tunnel.relayNodes
    .filter((relay) => relay.nodeName !== nodeName)
    .map((relay) => ({ nodeName: relay.nodeName, addresses: relay.advertiseAddress }));
}

/** Whether relays can dial this node, and where. */
function describeReach(tunnel: Tunnel) {
  const { reachability: verdict, confirmed } = tunnel.nat();
  return { verdict, confirmed };
}

function listenAddresses(tunnel: TunnelConfig) {
  const hosts = tunnel.listenAddress.length > 0 ? tunnel.listenAddress : hasIpv6() ? ['0.0.0.0', '::'] : ['0.0.0.0'];
  return hosts.map((host) => ({ host, port: tunnel.listenPort }));
}

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some(({ family }) => family === 'IPv6'));
}

function sessionLimits(limits: TunnelConfig['tunnelLimitConfig']) {
  if (!limits.enable) return {};
  return {
    maxStreamsIn: limits.tunnelBaseStreamIn,
    maxStreamsOut: limits.tunnelBaseStreamOut,
    maxStreamsInPerPeer: limits.tunnelPeerBaseStreamIn,
    maxStreamsOutPerPeer: limits.tunnelPeerBaseStreamOut,
  };
}
