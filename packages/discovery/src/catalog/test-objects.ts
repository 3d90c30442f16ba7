/** Objects and sources for tests of this package. */
import type { KubeObject } from '@edgemesh/core';
import type { Source, SourceSink } from '../source.ts';

export type Meta = Partial<KubeObject['metadata']>;

export function service(name: string, spec: Record<string, unknown> = {}, meta: Meta = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'shop', name, ...meta },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }], ...spec },
  };
}

export function slice(name: string, owner: string, addresses: readonly string[], meta: Meta = {}): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace: 'shop', name, labels: { 'kubernetes.io/service-name': owner }, ...meta },
    addressType: 'IPv4',
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
    endpoints: addresses.map((address) => ({ addresses: [address], nodeName: 'edge-1' })),
  };
}

export function endpoints(name: string, addresses: readonly string[], meta: Meta = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { namespace: 'shop', name, ...meta },
    subsets: [{ addresses: addresses.map((ip) => ({ ip, nodeName: 'edge-1' })), ports: [{ port: 8080 }] }],
  };
}

export function node(name: string, ip: string, meta: Meta = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, ...meta },
    spec: { podCIDR: '10.244.1.0/24' },
    status: { addresses: [{ type: 'InternalIP', address: ip }] },
  };
}

export function gateway(name: string, meta: Meta = {}): KubeObject {
  return {
    apiVersion: 'networking.istio.io/v1beta1',
    kind: 'Gateway',
    metadata: { namespace: 'shop', name, ...meta },
    spec: {},
  };
}

/** A source that a test feeds by hand. */
export interface ManualSource extends Source {
  readonly sink: Promise<SourceSink>;
}

export function createManualSource(name: string, origin?: string): ManualSource {
  const { promise, resolve } = Promise.withResolvers<SourceSink>();
  return {
    name,
    ...(origin !== undefined && { origin }),
    sink: promise,
    run(sink, signal) {
      resolve(sink);
      return new Promise((done) => {
        signal.addEventListener('abort', () => done(), { once: true });
      });
    },
  };
}
