import type { AgentConfig } from '@edgemesh/config';
import type { Logger, Metrics } from '@edgemesh/core';
import { createDiscovery, type Discovery, type Source } from '@edgemesh/discovery';
import {
  CORE_RESOURCES,
  createKubernetesSource,
  GATEWAY_API_RESOURCES,
  INGRESS_RESOURCES,
  ISTIO_RESOURCES,
  inClusterConnection,
  type KubeConnection,
  PODS,
  type ResourceSpec,
} from '@edgemesh/discovery/kubernetes';
import { createManifestSource } from '@edgemesh/discovery/manifests';
import type { ClusterAccess } from '../context.ts';

type KubeConfig = AgentConfig['kubeAPIConfig'];

/** Where the original's metaServer listens; with a folder of manifests and no other word of a cluster, it is not asked. */
const DEFAULT_META_SERVER = 'http://127.0.0.1:10550';

const NETWORK_POLICIES: ResourceSpec = {
  group: 'networking.k8s.io',
  versions: ['v1'],
  plural: 'networkpolicies',
  kind: 'NetworkPolicy',
  namespaced: true,
  optional: true,
};

export interface DiscoveryModuleOptions {
  readonly config: AgentConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** The catalog, and the cluster it comes from. */
export interface AgentDiscovery {
  readonly discovery: Discovery;
  readonly cluster: ClusterAccess;
}

/** The catalog, fed from the folder of manifests, the API server or the metaServer, whichever the configuration names. */
export async function startDiscovery(options: DiscoveryModuleOptions): Promise<AgentDiscovery> {
  const { config, env, log, metrics } = options;
  const origin = kubernetesOrigin(config, env);
  const resources = origin && wantedResources(config, origin.mode);
  const source = origin && createKubernetesSource({ ...origin, ...(resources && { resources }), log, metrics });
  const discovery = await createDiscovery({
    sources: [...manifestSources(options), ...(source ? [source] : [])],
    snapshotFile: `${config.commonConfig.dataDir}/catalog.json`,
    log,
    metrics,
  });
  const cluster: ClusterAccess = {
    follow: (refs) => source?.follow(refs),
    ...(origin?.mode === 'apiserver' && { apiServer: origin.connection }),
    namespace: config.commonConfig.namespace,
  };
  return { discovery, cluster };
}

function manifestSources({ config, log }: DiscoveryModuleOptions): Source[] {
  const directory = config.commonConfig.manifestDir;
  return directory === '' ? [] : [createManifestSource({ directory, log })];
}

/** What to read of a cluster: of objects that come in thousands only those that a module uses. */
export function wantedResources(
  { modules }: Pick<AgentConfig, 'modules'>,
  mode: 'apiserver' | 'metaserver',
): readonly ResourceSpec[] {
  return [
    ...CORE_RESOURCES,
    ...ISTIO_RESOURCES,
    // a metaServer knows neither, and cloudcore suffers from being asked
    ...(modules.edgeGateway.enable && mode === 'apiserver' ? [...GATEWAY_API_RESOURCES, ...INGRESS_RESOURCES] : []),
    ...(modules.edgeCNI.enable ? [PODS, NETWORK_POLICIES] : []),
  ];
}

/**
 * Which API the objects come from. An address or kubeconfig in the configuration wins; a pod of a cloud node has the API
 * server in its environment; everything else is an edge node with KubeEdge's metaServer.
 */
export function kubernetesOrigin(
  config: Pick<AgentConfig, 'kubeAPIConfig' | 'commonConfig'>,
  env: Readonly<Record<string, string | undefined>>,
): { readonly mode: 'apiserver' | 'metaserver'; readonly connection: KubeConnection } | undefined {
  const { master, kubeConfig, metaServer } = config.kubeAPIConfig;
  if (kubeConfig !== '') return { mode: 'apiserver', connection: { kubeconfig: kubeConfig } };
  if (master !== '') return { mode: 'apiserver', connection: { server: master } };
  const configured = metaServer.server !== DEFAULT_META_SERVER || metaServer.security.requireAuthorization;
  if (!configured && config.commonConfig.manifestDir !== '') return undefined;
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env;
  if (!configured && host) return { mode: 'apiserver', connection: inClusterConnection({ host, port }) };
  return { mode: 'metaserver', connection: metaServerConnection(metaServer) };
}

function metaServerConnection({ server, security }: KubeConfig['metaServer']): KubeConnection {
  if (!security.requireAuthorization) return { server };
  return {
    server: server === DEFAULT_META_SERVER ? server.replace('http:', 'https:') : server,
    caFile: security.tlsCaFile,
    certFile: security.tlsCertFile,
    keyFile: security.tlsPrivateKeyFile,
    insecureSkipTlsVerify: security.insecureSkipTLSVerify,
  };
}
