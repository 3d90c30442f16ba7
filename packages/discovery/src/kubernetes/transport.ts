import { Agent as HttpAgent } from 'node:http';
import { type AgentOptions, Agent as HttpsAgent } from 'node:https';
import { DiscoveryError } from '../errors.ts';

/** A kubeconfig file, with all that kubectl understands: exec plugins, OIDC, proxies. */
export interface KubeconfigConnection {
  readonly kubeconfig: string;
  /** Default: the current context. */
  readonly context?: string;
}

/** How to reach an API. */
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

/** Parses a server address; throws DiscoveryError `config`. */
export function parseServer(server: string): URL {
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new DiscoveryError('config', `the API server's address is not an http or https URL: ${server}`);
  }
  return url;
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
