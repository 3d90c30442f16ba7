import { readFile, stat } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { type AgentOptions, Agent as HttpsAgent } from 'node:https';
import { messageOf } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';

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

/** A kubeconfig file, with all that kubectl understands: exec plugins, OIDC, proxies. */
export interface KubeconfigConnection {
  readonly kubeconfig: string;
  /** Default: the current context. */
  readonly context?: string;
}

/** How to reach an API. */
export type KubeConnection = ServerConnection | KubeconfigConnection;

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The connection of a pod: `host` and `port` are KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which the app reads. */
export function inClusterConnection(options: { host: string; port: string; folder?: string }): ServerConnection {
  const { host, port, folder = SERVICE_ACCOUNT } = options;
  const authority = host.includes(':') ? `[${host}]` : host;
  return { server: `https://${authority}:${port}`, caFile: `${folder}/ca.crt`, tokenFile: `${folder}/token` };
}

/** What a request needs beside its path. */
export interface Transport {
  readonly base: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly agent: HttpAgent | HttpsAgent;
}

/** Gives the transport of the moment: tokens and certificates rotate. */
export interface TransportProvider extends Disposable {
  get(): Promise<Transport>;
}

/** Opens a connection description. Throws DiscoveryError `config` when it cannot be used. */
export async function createTransports(connection: KubeConnection): Promise<TransportProvider> {
  if ('server' in connection) return serverTransports(connection);
  // client-node costs some 30 MB (its generated models, undici, OIDC); it is loaded only where a kubeconfig is used,
  // so an edge node that talks to a metaServer never pays for it
  const { kubeconfigTransports } = await import('./kubeconfig.ts');
  return kubeconfigTransports(connection);
}

/** Parses a server address; throws DiscoveryError `config`. */
export function parseServer(server: string): URL {
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new DiscoveryError('config', `the API server's address is not an http or https URL: ${server}`);
  }
  return url;
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

/** Agents by TLS material: one that is replaced finishes what it has begun. */
export interface Agents extends Disposable {
  of(options: AgentOptions): HttpAgent | HttpsAgent;
}

/** Agents for one server. */
export function createAgents(base: URL): Agents {
  // lists and watches of one reflector follow each other, so an idle connection is worth keeping
  const common = { keepAlive: true, keepAliveMsecs: 30_000 };
  let material: string | undefined;
  let agent: HttpAgent | HttpsAgent | undefined;
  return {
    of(options) {
      const wanted = JSON.stringify(options);
      if (agent !== undefined && wanted === material) return agent;
      material = wanted;
      agent = base.protocol === 'https:' ? new HttpsAgent({ ...common, ...options }) : new HttpAgent(common);
      return agent;
    },
    [Symbol.dispose]: () => agent?.destroy(),
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
