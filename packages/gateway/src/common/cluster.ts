import { createHash } from 'node:crypto';
import type { Service, ServicePort } from '@edgemesh/core';
import type { ClusterRef, UpstreamTls } from '@edgemesh/proxy-http';
import type { L4Target } from '../model.ts';

/** A part of a Service to route to. */
export interface ClusterParts {
  readonly service: Service;
  readonly port: ServicePort;
  readonly subset?: string;
  /** Default: what the port says of itself. */
  readonly protocol?: ClusterRef['protocol'];
  readonly tls?: UpstreamTls;
}

/** The cluster of a Service port, with a key that holds everything that makes connections to it differ. */
export function clusterOf(parts: ClusterParts): ClusterRef {
  const { service, port, subset, tls } = parts;
  const protocol = parts.protocol ?? protocolOf(port);
  const suffix =
    tls === undefined ? '' : `#${createHash('sha256').update(JSON.stringify(tls)).digest('hex').slice(0, 12)}`;
  return {
    key: `${service.id}:${port.port}${subset === undefined ? '' : `/${subset}`}?${protocol}${suffix}`,
    service: service.id,
    port: port.port,
    protocol,
    ...(subset !== undefined && { subset }),
    ...(tls && { tls }),
  };
}

/** The same for connections and flows. */
export function l4TargetOf(service: Service, port: ServicePort, subset?: string): L4Target {
  return {
    service: service.id,
    port: port.port,
    portName: port.name,
    protocol: port.protocol === 'UDP' ? 'UDP' : 'TCP',
    ...(subset !== undefined && { subset }),
  };
}

const H2 = new Set(['grpc', 'grpc-web', 'http2', 'h2c', 'kubernetes.io/h2c']);

/** Whether a Service port says of itself that it speaks HTTP, of any version. */
export function saysHttp(port: Pick<ServicePort, 'name' | 'appProtocol'>): boolean {
  return protocolOf(port) !== 'auto';
}

/** How a Service port speaks, by `appProtocol`, then by its name up to the first hyphen (Istio's rule). */
export function protocolOf(port: Pick<ServicePort, 'name' | 'appProtocol'>): ClusterRef['protocol'] {
  const word = (port.appProtocol ?? portPrefix(port.name)).toLowerCase();
  if (H2.has(word)) return 'h2';
  return word === 'http' || word === 'kubernetes.io/ws' ? 'http1' : 'auto';
}

function portPrefix(name: string): string {
  if (/^grpc-web(-|$)/.test(name)) return 'grpc-web';
  const hyphen = name.indexOf('-');
  return hyphen < 0 ? name : name.slice(0, hyphen);
}
