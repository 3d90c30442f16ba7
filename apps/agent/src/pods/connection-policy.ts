import type { NetworkPolicies } from '@edgemesh/cni';
import {
  type ByteSink,
  type ByteStream,
  type CatalogView,
  cidrContains,
  type Datagrams,
  type Dialer,
  type DialTarget,
  MeshError,
  parseCidr,
  parseIp,
} from '@edgemesh/core';
import type { InboundRequest } from '@edgemesh/tunnel';

type Protocol = 'TCP' | 'UDP';

export interface ConnectionPolicyDeps {
  readonly view: () => CatalogView;
  /** This node. */
  readonly nodeName: string;
  /** Undefined while the pod network is not running: then there are no policies. */
  readonly policies: () => Pick<NetworkPolicies, 'permits'> | undefined;
}

/**
 * NetworkPolicy for connections that the agent makes on behalf of others. To the kernel they are the node's own, which policies
 * never touch; the client whom they are for is another matter.
 */
export interface ConnectionPolicy {
  /** What a peer asks for. Its word about the client counts only for addresses of its own pods; else the peer itself is the client. */
  inbound(request: InboundRequest): MeshError | undefined;
  /** What a client of this node asks for, to wherever. Clients that are no pods are the node itself, which may do everything. */
  outbound(target: DialTarget, protocol: Protocol, clientAddress: string | undefined): MeshError | undefined;
}

/** The policies of this node's pods, asked per connection. */
export function createConnectionPolicy({ view, nodeName, policies }: ConnectionPolicyDeps): ConnectionPolicy {
  const node = (name: string) => view().current.nodes.get(name);
  const isPodOf = (name: string, address: string) => {
    const bytes = parseIp(address);
    return (
      bytes !== undefined &&
      (node(name)?.podCIDRs ?? []).some((text) => {
        const range = parseCidr(text);
        return range !== undefined && cidrContains(range, bytes);
      })
    );
  };
  return {
    inbound({ nodeName: from, address, port, kind, clientAddress }) {
      const judge = policies();
      if (judge === undefined) return undefined;
      const peers = isPodOf(from, clientAddress) ? [clientAddress] : (node(from)?.internalIPs ?? []);
      const protocol = protocolOf(kind);
      if (judge.permits({ direction: 'ingress', pod: address, peers, protocol, port })) return undefined;
      return refusal('ingress', address, `${peers.join(', ') || 'it'} on node ${from}`);
    },
    outbound({ address, port, nodeName: to }, protocol, clientAddress) {
      const judge = policies();
      if (judge === undefined || clientAddress === undefined || !isPodOf(nodeName, clientAddress)) return undefined;
      if (!judge.permits({ direction: 'egress', pod: clientAddress, peers: [address], protocol, port })) {
        return refusal('egress', clientAddress, address);
      }
      const isHere = to === undefined || to === nodeName;
      if (!isHere || judge.permits({ direction: 'ingress', pod: address, peers: [clientAddress], protocol, port })) {
        return undefined;
      }
      return refusal('ingress', address, clientAddress);
    },
  };
}

const protocolOf = (kind: InboundRequest['kind']): Protocol => (kind === 'udp' ? 'UDP' : 'TCP');

/** Another endpoint of the Service may be another matter. */
function refusal(direction: 'ingress' | 'egress', pod: string, other: string): MeshError {
  const way = direction === 'ingress' ? `from ${other}` : `to ${other}`;
  return new MeshError('forbidden', `NetworkPolicy: no ${direction} of pod ${pod} ${way}`, { retryable: true });
}

/** A dialer that asks the policies first. */
export function guardDialer(dialer: Dialer, policy: Pick<ConnectionPolicy, 'outbound'>): Dialer {
  return {
    dial(target, options) {
      const refused = policy.outbound(target, 'TCP', options?.clientAddress);
      return refused === undefined ? dialer.dial(target, options) : refusedStream(refused);
    },
    openDatagrams(target, options) {
      const refused = policy.outbound(target, 'UDP', options?.clientAddress);
      return refused === undefined ? dialer.openDatagrams(target, options) : refusedDatagrams(refused);
    },
  };
}

/** A stream that has failed already; it says so later, as a real one would. */
function refusedStream(error: MeshError): ByteStream {
  let isClosed = false;
  const tell = (sink: ByteSink) => {
    if (isClosed) return;
    isClosed = true;
    sink.closed(error);
  };
  return {
    attach: (sink) => queueMicrotask(() => tell(sink)),
    write: () => true,
    end: () => undefined,
    reset: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
  };
}

/** The same for datagrams. */
export function refusedDatagrams(error: MeshError): Datagrams {
  return {
    // Later, as a real one: whoever attaches has not yet returned from opening it.
    attach: (sink) => queueMicrotask(() => sink.closed(error)),
    send: () => false,
    close: () => undefined,
  };
}
