import { readFile, stat } from 'node:fs/promises';
import { messageOf } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { createAgents, type KubeconfigConnection, parseServer, type TransportProvider } from './transport.ts';

/** An API server or metaServer by address, with plain TLS material. Files are read again when they change. */
export interface ServerConnection {
  /** `https://host:port`, or `http://` for a metaServer without authorization. */
  readonly server: string;
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly tokenFile?: string;
  readonly token?: string;
  /** Name in the server's certificate, where it differs from the host. */
  readonly tlsServerName?: string;
  /** Accept any certificate. Default false. */
  readonly insecureSkipTlsVerify?: boolean;
}

export type KubeConnection = ServerConnection | KubeconfigConnection;

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The connection of a pod: `host` and `port` are KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which the app reads. */
export function inClusterConnection(options: { host: string; port: string; folder?: string }): ServerConnection {
  const { host, port, folder = SERVICE_ACCOUNT } = options;
  const authority = host.includes(':') ? `[${host}]` : host;
  return { server: `https://${authority}:${port}`, caFile: `${folder}/ca.crt`, tokenFile: `${folder}/token` };
}

/** Opens a connection description. Throws DiscoveryError `config` when it cannot be used. */
export async function createTransports(connection: KubeConnection): Promise<TransportProvider> {
  if ('server' in connection) return serverTransports(connection);
  // client-node costs some 30 MB (its generated models, undici, OIDC); it is loaded only where a kubeconfig is used,
  // so an edge node that talks to a metaServer never pays for it
  const { kubeconfigTransports } = await import('./kubeconfig.ts');
  return kubeconfigTransports(connection);
}

function serverTransports(connection: ServerConnection): TransportProvider {
  const base = parseServer(connection.server);
  const files = createFileCache();
  const agents = createAgents(base);
  return {
    async get() {
      const [ca, cert, key, tokenText] = await Promise.all(
        [connection.caFile, connection.certFile, connection.keyFile, connection.tokenFile].map(files),
      );
      const token = connection.token ?? tokenText?.trim();
      const agent = agents.of({
        ...(ca !== undefined && { ca }),
        ...(cert !== undefined && { cert }),
        ...(key !== undefined && { key }),
        ...(connection.tlsServerName !== undefined && { servername: connection.tlsServerName }),
        ...(connection.insecureSkipTlsVerify === true && { rejectUnauthorized: false }),
      });
      const headers: Record<string, string> = {};
      if (token) headers.authorization = `Bearer ${token}`;
      return { base, headers, agent };
    },
    [Symbol.dispose]: () => agents[Symbol.dispose](),
  };
}

/** Reads files, again only when they have changed. Undefined paths give undefined. */
function createFileCache(): (path: string | undefined) => Promise<string | undefined> {
  const cache = new Map<string, { stamp: string; text: string }>();
  return async (path) => {
    if (path === undefined) return undefined;
    try {
      const { mtimeMs, size, ino } = await stat(path);
      const stamp = `${mtimeMs} ${size} ${ino}`;
      const known = cache.get(path);
      if (known?.stamp === stamp) return known.text;
      const text = await readFile(path, 'utf8');
      cache.set(path, { stamp, text });
      return text;
    } catch (error) {
      throw new DiscoveryError('config', `${path} cannot be read: ${messageOf(error)}`, {
        cause: error,
        retryable: true,
      });
    }
  };
}
