import type { Checker } from './check.ts';
import { splitHostPort } from './formats.ts';
import type { AgentConfig, ServerConfig } from './schema/kinds.ts';
import { type Tree, takeAt } from './tree.ts';

/** What one key means for another. Returns the configuration with values that follow from others filled in. */
export function checkAgentRelations(config: AgentConfig, tree: Tree, checker: Checker): AgentConfig {
  const { modules, commonConfig } = config;
  if (!Object.values(modules).some(({ enable }) => enable))
    checker.warn('modules', 'no module is enabled, the agent will do nothing');
  checkTunnel(config, checker);
  checkPorts(config, checker);
  checkAdmin(commonConfig.adminListen, 'commonConfig.adminListen', checker);
  checkProfiling(commonConfig.pprofConfig, checker);
  const { cloudCIDR, edgeCIDR } = modules.edgeCNI.meshCIDRConfig;
  if (modules.edgeCNI.enable && cloudCIDR.length + edgeCIDR.length === 0) {
    checker.warn('modules.edgeCNI.meshCIDRConfig', 'no range is given, so the podCIDRs of every node count');
  }
  return withMetaServerScheme(config, tree, checker);
}

function checkTunnel({ modules }: AgentConfig, checker: Checker): void {
  const { edgeTunnel, edgeCNI, edgeProxy } = modules;
  if (edgeCNI.enable && !edgeTunnel.enable)
    checker.warn('modules.edgeCNI.enable', 'needs modules.edgeTunnel.enable to reach other nodes');
  if (edgeProxy.socks5Proxy.enable && !edgeTunnel.enable) {
    checker.warn('modules.edgeProxy.socks5Proxy.enable', 'needs modules.edgeTunnel.enable to reach other nodes');
  }
  if (edgeTunnel.enable && !edgeTunnel.psk.enable) {
    checker.warn('modules.edgeTunnel.psk.enable', 'is off: whoever reaches this node can join the mesh');
  }
  if (edgeTunnel.transport !== 'tcp')
    checker.warn('modules.edgeTunnel.transport', `${edgeTunnel.transport} is not spoken, tcp is used`);
  const names = new Set<string>();
  for (const [i, { nodeName, advertiseAddress }] of edgeTunnel.relayNodes.entries()) {
    const path = `modules.edgeTunnel.relayNodes[${i}]`;
    if (names.has(nodeName))
      checker.warn(`${path}.nodeName`, `${nodeName} is listed before; its addresses are put together`);
    names.add(nodeName);
    if (advertiseAddress.length === 0)
      checker.warn(`${path}.advertiseAddress`, 'no address is given, so nobody can reach this relay by it');
  }
}

/** True when the profiling endpoint is that of health and metrics, as in charts of the original: one listener serves both. */
export function isProfiledByAdmin({ adminListen, pprofConfig }: AgentConfig['commonConfig']): boolean {
  const admin = splitHostPort(adminListen);
  const { enableProfiling, profilingAddress, profilingPort } = pprofConfig;
  return enableProfiling && admin?.port === profilingPort && admin.host === profilingAddress;
}

/** Two listeners of this configuration on one port of overlapping addresses: the second would fail at start. */
function checkPorts({ modules, commonConfig }: AgentConfig, checker: Checker): void {
  const { edgeTunnel, edgeProxy, edgeDNS } = modules;
  const { pprofConfig: pprof } = commonConfig;
  const admin = splitHostPort(commonConfig.adminListen)?.port ?? 0;
  const listeners: readonly (readonly [string, number, boolean])[] = [
    ['commonConfig.adminListen', admin, true],
    [
      'commonConfig.pprofConfig.profilingPort',
      pprof.profilingPort,
      pprof.enableProfiling && !isProfiledByAdmin(commonConfig),
    ],
    ['modules.edgeDNS.listenPort', edgeDNS.listenPort, edgeDNS.enable],
    [
      'modules.edgeProxy.socks5Proxy.listenPort',
      edgeProxy.socks5Proxy.listenPort,
      edgeProxy.enable && edgeProxy.socks5Proxy.enable,
    ],
    ['modules.edgeTunnel.listenPort', edgeTunnel.listenPort, edgeTunnel.enable],
    [
      'modules.edgeTunnel.metricConfig.port',
      edgeTunnel.metricConfig.port,
      edgeTunnel.enable && edgeTunnel.metricConfig.enable,
    ],
  ];
  const taken = new Map<number, string>();
  for (const [path, port, used] of listeners) {
    if (!used || port === 0) continue;
    const other = taken.get(port);
    if (other !== undefined)
      checker.warn(path, `port ${port} is also that of ${other}; one of them may fail to listen`);
    else taken.set(port, path);
  }
}

function checkAdmin(listen: string, path: string, checker: Checker): void {
  const host = splitHostPort(listen)?.host;
  if (host === undefined || host === 'localhost' || host === '::1' || host.startsWith('127.')) return;
  checker.warn(path, `${listen} is not on loopback: status and metrics are readable from the network`);
}

function checkProfiling(pprof: AgentConfig['commonConfig']['pprofConfig'], checker: Checker): void {
  const { enableProfiling, profilingAddress: host } = pprof;
  if (!enableProfiling || host === '::1' || host.startsWith('127.')) return;
  checker.warn(
    'commonConfig.pprofConfig.profilingAddress',
    `${host} is not on loopback: heap snapshots hold every secret of this process, and anybody may take them`,
  );
}

/** The default of metaServer follows from requireAuthorization, as in the original. */
function withMetaServerScheme(config: AgentConfig, tree: Tree, checker: Checker): AgentConfig {
  const { metaServer } = config.kubeAPIConfig;
  if (!metaServer.security.requireAuthorization) return config;
  const path = 'kubeAPIConfig.metaServer.server';
  const given = takeAt(tree, path.split('.')).taken?.value;
  if (given !== undefined && !(given.kind === 'scalar' && given.value === null)) {
    if (metaServer.server.startsWith('http:'))
      checker.warn(path, 'is plain http although requireAuthorization is on', given.line);
    return config;
  }
  const server = metaServer.server.replace(/^http:/, 'https:');
  return { ...config, kubeAPIConfig: { ...config.kubeAPIConfig, metaServer: { ...metaServer, server } } };
}

export function checkServerRelations(config: ServerConfig, checker: Checker): void {
  checkAdmin(config.adminListen, 'adminListen', checker);
  if (!config.psk.enable) checker.warn('psk.enable', 'is off: whoever reaches this server can join the mesh');
  const listen = splitHostPort(config.listen);
  const admin = splitHostPort(config.adminListen);
  if (listen && admin && listen.port !== 0 && listen.port === admin.port) {
    checker.warn('adminListen', `port ${admin.port} is also that of listen; one of them may fail to listen`);
  }
}
