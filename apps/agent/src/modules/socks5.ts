import type { Catalog, DialTarget } from '@edgemesh/core';
import { createSocks5Server, createSocksResolver } from '@edgemesh/proxy-l4';
import type { AgentModule } from '../context.ts';

/** SOCKS5 for users and pods of this node: other nodes by name (ssh), Services by name, endpoints by address. */
export const socks5Module: AgentModule = {
  name: 'socks5',
  section: 'edgeProxy.socks5Proxy',
  isWanted: ({ modules }) => modules.edgeProxy.enable && modules.edgeProxy.socks5Proxy.enable,
  async start(room) {
    const { config, nodeName, log, metrics } = room.context();
    const { listenPort, sshPort } = config.modules.edgeProxy.socks5Proxy;
    const resolve = createSocksResolver({
      catalog: room.services,
      serviceUpstream: (id, port) => room.parts.proxy?.services.upstream(id, port.name, port.protocol),
      clusterDomain: config.commonConfig.clusterDomain,
      allowNodePort: (port) => port === sshPort,
      allowAddress: (address, port) => addressTarget(room.services.current, { nodeName, sshPort }, address, port),
    });
    const hosts = room.kernelMode ? [config.commonConfig.bridgeDeviceIP, '127.0.0.1'] : ['127.0.0.1'];
    await using stack = new AsyncDisposableStack();
    for (const host of hosts) {
      const options = { listen: { host, port: listenPort } };
      stack.use(await createSocks5Server(options, { resolve, dialer: room.dialer, log, metrics }));
    }
    return stack.move();
  },
};

/**
 * An address that SOCKS5 users may name: an endpoint of a Service, on this node first, or the ssh port of a node. An address that
 * several other nodes have names nobody.
 */
export function addressTarget(
  catalog: Catalog,
  own: { readonly nodeName: string; readonly sshPort: number },
  address: string,
  port: number,
): DialTarget | undefined {
  const found = new Map<string, DialTarget>();
  for (const endpoints of catalog.endpoints.values()) {
    for (const { nodeName, ...endpoint } of endpoints) {
      if (endpoint.address !== address || endpoint.port !== port || endpoint.protocol !== 'TCP') continue;
      found.set(nodeName ?? '', { address, port, ...(nodeName !== undefined && { nodeName }) });
    }
  }
  if (port === own.sshPort) {
    for (const node of catalog.nodes.values()) {
      if (node.internalIPs.includes(address)) found.set(node.name, { address, port, nodeName: node.name });
    }
  }
  return found.get(own.nodeName) ?? (found.size === 1 ? [...found.values()][0] : undefined);
}
