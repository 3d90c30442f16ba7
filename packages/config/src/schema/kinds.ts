import { type ConfigOf, list, type Section, section, text } from '../fields.ts';
import { listenAddress, peerAddress } from '../formats.ts';
import { commonSection, processFields } from './common.ts';
import { dnsSection, gatewaySection, proxySection } from './dns-proxy.ts';
import { kubeApiSection } from './kube-api.ts';
import {
  cniSection,
  dhtField,
  pskSection,
  relayLimitsSection,
  rendezvousField,
  staticPeersField,
  tunnelSection,
} from './tunnel.ts';

const CHASSIS = 'has had no effect since EdgeMesh 1.12; see modules.edgeProxy.loadBalancer';

/** Everything an agent knows. A gateway is an agent with other defaults in mind, so both kinds share it. */
export const agentSchema = section(
  'An agent.',
  {
    kubeAPIConfig: kubeApiSection,
    commonConfig: commonSection,
    modules: section('What the agent does. Each module can be switched off.', {
      edgeDNS: dnsSection,
      edgeProxy: proxySection,
      edgeTunnel: tunnelSection,
      edgeGateway: gatewaySection,
      edgeCNI: cniSection,
    }),
  },
  { goChassisConfig: CHASSIS },
);

/** The public side: relay and meeting point. */
export const serverSchema = section(
  'A server.',
  {
    listen: text('0.0.0.0:20006', listenAddress, 'Where agents connect.'),
    advertiseAddress: list(peerAddress, 'Where agents reach this server from outside.'),
    ...processFields,
    psk: pskSection,
    rendezvous: rendezvousField,
    staticPeers: staticPeersField,
    dht: dhtField,
    relay: relayLimitsSection,
  },
  {
    kubeAPIConfig: 'is not needed: the server takes nothing from Kubernetes',
    modules: 'was the form of EdgeMesh 1.9; see listen, advertiseAddress and psk',
  },
);

/** A checked `EdgeMeshAgent` or `EdgeMeshGateway` file, complete. */
export type AgentConfig = { readonly kind: AgentKind } & ConfigOf<(typeof agentSchema)['fields']>;
/** A checked `EdgeMeshServer` file, complete. */
export type ServerConfig = { readonly kind: 'EdgeMeshServer' } & ConfigOf<(typeof serverSchema)['fields']>;

export type AgentKind = 'EdgeMeshAgent' | 'EdgeMeshGateway';
export type ConfigKind = AgentKind | 'EdgeMeshServer';

export interface KindInfo {
  readonly apiVersion: string;
  readonly schema: Section;
  /** Modules that the kind is about; the others are accepted, and left out of its default file. */
  readonly modules?: readonly string[];
  /** Keys of the smallest useful file. */
  readonly min: Readonly<Record<string, boolean | string>>;
}

/** The three kinds of files. */
export const KINDS: Readonly<Record<ConfigKind, KindInfo>> = {
  EdgeMeshAgent: {
    apiVersion: 'agent.edgemesh.config.kubeedge.io/v1alpha1',
    schema: agentSchema,
    modules: ['edgeDNS', 'edgeProxy', 'edgeTunnel', 'edgeCNI'],
    min: { 'modules.edgeDNS.enable': true, 'modules.edgeProxy.enable': true, 'modules.edgeTunnel.enable': true },
  },
  EdgeMeshGateway: {
    apiVersion: 'gateway.edgemesh.config.kubeedge.io/v1alpha1',
    schema: agentSchema,
    modules: ['edgeGateway', 'edgeTunnel'],
    min: { 'modules.edgeGateway.enable': true, 'modules.edgeTunnel.enable': true },
  },
  EdgeMeshServer: {
    apiVersion: 'server.edgemesh.config.kubeedge.io/v1alpha1',
    schema: serverSchema,
    min: { listen: '0.0.0.0:20006' },
  },
};

/** Keys that moved: read at the new place. A note is shown as a warning; without one the old place is as good. */
export const MOVED: readonly { readonly from: string; readonly to: string; readonly note?: string }[] = [
  { from: 'pprofConfig', to: 'commonConfig.pprofConfig' },
  {
    from: 'commonConfig.dummyDeviceName',
    to: 'commonConfig.bridgeDeviceName',
    note: 'is called bridgeDeviceName since EdgeMesh 1.12',
  },
  {
    from: 'commonConfig.dummyDeviceIP',
    to: 'commonConfig.bridgeDeviceIP',
    note: 'is called bridgeDeviceIP since EdgeMesh 1.12',
  },
  { from: 'modules.tunnel', to: 'modules.edgeTunnel', note: 'is called edgeTunnel since EdgeMesh 1.12' },
];
