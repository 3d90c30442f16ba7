/** What the commands read of the agent's `/status`. More may be there. */
export interface Status {
  readonly node: string;
  readonly version: string;
  readonly uptimeMs: number;
  readonly modules: readonly { readonly name: string; readonly state: string; readonly reason: string }[];
  readonly catalog: {
    readonly services: number;
    readonly endpoints: number;
    readonly source: string;
    readonly ageMs: number | null;
  };
  readonly relays: readonly RelayStatus[];
  readonly peers: readonly PeerStatus[];
  readonly flows: { readonly tcp: number; readonly udp: number };
  readonly details: Details;
}

export interface RelayStatus {
  readonly nodeName?: string;
  readonly addresses: readonly SocketAddress[];
  readonly connectedAddress?: SocketAddress;
  readonly state: string;
  readonly rttMs?: number;
  readonly reason?: string;
}

export interface PeerStatus {
  readonly node: string;
  readonly path?: string;
  readonly state: string;
  readonly rttMs?: number;
  readonly address?: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly streams: number;
  readonly reason?: string;
}

export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

/** The parts of `details` that the doctor looks at; each is missing while its module is not running. */
export interface Details {
  readonly dns?: {
    readonly listeners?: readonly (DnsAddress & { readonly transport: string; readonly state: string })[];
    readonly upstreams?: readonly (DnsAddress & { readonly state: string; readonly lastFailure?: string })[];
    readonly zone?: { readonly domains: readonly string[] };
  };
  readonly proxy?: {
    readonly mode: string;
    readonly problems?: readonly string[];
    readonly conditions?: Readonly<Record<string, readonly string[]>>;
  };
}

interface DnsAddress {
  readonly address: string;
  readonly port: number;
}

export interface Endpoint {
  readonly address: string;
  readonly port: number;
  readonly node: string | null;
  readonly pod: string | null;
  readonly used: boolean;
  readonly reason: string;
  readonly via: string;
  readonly path: string | null;
  readonly rttMs: number | null;
}

export interface Explanation {
  readonly service: string;
  readonly type: string;
  readonly addresses: readonly string[];
  readonly name: string;
  readonly ports: readonly {
    readonly name: string;
    readonly port: number;
    readonly protocol: string;
    readonly chosenBy: string;
    readonly policy: string;
    readonly rule: string | null;
    readonly endpoints: readonly Endpoint[];
  }[];
  readonly problems: readonly string[];
}

export interface PingAnswer {
  readonly node: string;
  readonly rttMs: number;
  readonly path?: string;
}

/** The agent said no, or did not answer; the message says what to do. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
}

const TIMEOUT_MS = 15_000;

/**
 * Asks the agent of this node.
 * @throws AgentError
 */
export async function ask<T>(admin: string, path: string, query: Readonly<Record<string, string>> = {}): Promise<T> {
  const url = `${admin}${path}?${new URLSearchParams(query)}`;
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    text = await response.text();
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new AgentError(
      `no agent answers at ${admin} (${cause}). Is edgemesh-agent running on this node, with commonConfig.adminListen there?`,
    );
  }
  const body = parse(text);
  if (body === undefined)
    throw new AgentError(`${admin} answers ${response.status} without JSON: is this an EdgeMesh agent?`);
  if (response.ok) return body as T;
  const { error } = body as { readonly error?: unknown };
  throw new AgentError(typeof error === 'string' ? error : `${url} answers ${response.status}`);
}

function parse(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined; // told by the caller, with the address
  }
}
