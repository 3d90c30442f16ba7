import type { RequestOptions } from 'node:https';
import { messageOf } from '@edgemesh/core';
import { type Cluster, KubeConfig } from '@kubernetes/client-node';
import { DiscoveryError } from '../errors.ts';
import { createAgents, type KubeconfigConnection, parseServer, type TransportProvider } from './transport.ts';

/*
 * Of client-node only KubeConfig is used: it knows the kubeconfig format, exec plugins, OIDC and cloud providers. Its typed
 * API clients and its Watch are not: they pull in every generated model of Kubernetes and undici, deserialise each object
 * into class instances, and cannot say where a metaServer's list came from. Lists and watches run over node:https.
 */

/** Transports from a kubeconfig file. Throws DiscoveryError `config`. */
export function kubeconfigTransports({ kubeconfig, context }: KubeconfigConnection): TransportProvider {
  const config = new KubeConfig();
  const cluster = load(config, kubeconfig, context);
  const base = parseServer(cluster.server);
  const agents = createAgents(base);
  return {
    async get() {
      const options: RequestOptions = { headers: {} };
      await config.applyToHTTPSOptions(options);
      const headers = Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]);
      if (options.auth) headers.push(['authorization', `Basic ${Buffer.from(options.auth).toString('base64')}`]);
      const { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized } = options;
      const material = {
        ca: text(ca),
        cert: text(cert),
        key: text(key),
        pfx: text(pfx),
        passphrase,
        servername,
        rejectUnauthorized,
      };
      const known = Object.fromEntries(Object.entries(material).filter(([, value]) => value !== undefined));
      // a proxy needs the agent that client-node made for it
      const proxied = cluster.proxyUrl !== undefined && typeof options.agent === 'object' ? options.agent : undefined;
      return { base, headers: Object.fromEntries(headers), agent: proxied ?? agents.of(known) };
    },
    [Symbol.dispose]: () => agents[Symbol.dispose](),
  };
}

function load(config: KubeConfig, file: string, context: string | undefined): Cluster {
  try {
    config.loadFromFile(file);
  } catch (error) {
    throw new DiscoveryError('config', `kubeconfig ${file} cannot be used: ${messageOf(error)}`, { cause: error });
  }
  if (context !== undefined) config.setCurrentContext(context);
  const cluster = config.getCurrentCluster();
  if (!cluster) throw new DiscoveryError('config', `kubeconfig ${file} has no cluster for its context`);
  // client-node refuses plain http unless verification is off; without TLS there is nothing to verify
  if (cluster.server.startsWith('http:')) Object.assign(cluster, { skipTLSVerify: true });
  return cluster;
}

/** TLS material as text, so that equal material gives the same agent. */
function text(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return Buffer.isBuffer(value) ? value.toString() : undefined;
}
