import {
  type CatalogView,
  type DialTarget,
  type Endpoint,
  endpointKey,
  type ServiceId,
  type ServicePort,
  serviceId,
} from '@edgemesh/core';
import type { Upstream } from '../upstream.ts';
import type { Socks5Request } from './handshake.ts';
import type { Socks5Resolution } from './server.ts';

/** What SOCKS5 users may reach. */
export interface SocksResolverOptions {
  readonly catalog: CatalogView;
  /** The upstream of a Service port, as the service proxy offers it. */
  readonly serviceUpstream: (id: ServiceId, port: ServicePort) => Upstream | undefined;
  /** Default `cluster.local`. */
  readonly clusterDomain?: string;
  /** Ports of nodes that may be reached by the node's name. Default: all. */
  readonly allowNodePort?: (port: number) => boolean;
  /** Decides about addresses that are no ClusterIP. Default: all are forbidden. */
  readonly allowAddress?: (address: string, port: number) => DialTarget | undefined;
}

/** An upstream with exactly one place to go. */
export function fixedUpstream(name: string, target: DialTarget): Upstream {
  const endpoint: Endpoint = {
    ...target,
    protocol: 'TCP',
    portName: '',
    ready: true,
    serving: true,
    terminating: false,
  };
  const key = endpointKey(endpoint);
  return { name, pick: (_flow, exclude) => (exclude?.has(key) ? undefined : endpoint) };
}

/**
 * Resolves SOCKS5 requests from the catalog: a node by its name (its first internal address, dialled on that node), a Service
 * by `name.namespace` with or without `svc` and the cluster domain, one pod of it by `hostname.name.namespace.svc`, a ClusterIP,
 * and other addresses where allowed.
 */
export function createSocksResolver(options: SocksResolverOptions): (request: Socks5Request) => Socks5Resolution {
  const { catalog, serviceUpstream, allowAddress, allowNodePort } = options;
  const suffix = `.${options.clusterDomain ?? 'cluster.local'}`;
  const unknown: Socks5Resolution = { kind: 'unknown' };

  const byService = (id: ServiceId, port: number): Socks5Resolution => {
    const service = catalog.current.services.get(id);
    const servicePort = service?.ports.find((p) => p.port === port && p.protocol === 'TCP');
    const upstream = servicePort && serviceUpstream(id, servicePort);
    return upstream === undefined ? unknown : { kind: 'upstream', upstream };
  };

  /** `pod-0.service.namespace.svc`: one pod, whatever its state, as by its address. */
  const byHostname = ([hostname, name, namespace]: [string, string, string], port: number): Socks5Resolution => {
    const endpoint = catalog.current.endpoints
      .get(serviceId(namespace, name))
      ?.find((e) => e.hostname === hostname && e.port === port && e.protocol === 'TCP');
    if (endpoint === undefined) return unknown;
    return { kind: 'upstream', upstream: fixedUpstream(`${hostname}.${name}.${namespace}`, endpoint) };
  };

  const byName = (host: string, port: number): Socks5Resolution => {
    const node = catalog.current.nodes.get(host);
    if (node !== undefined) {
      if (allowNodePort?.(port) === false) return { kind: 'forbidden' };
      const address = node.internalIPs[0] ?? '127.0.0.1';
      return { kind: 'upstream', upstream: fixedUpstream(`node ${host}`, { address, port, nodeName: node.name }) };
    }
    const plain = host.endsWith('.') ? host.slice(0, -1) : host;
    const short = plain.endsWith(suffix) ? plain.slice(0, -suffix.length) : plain;
    const labels = short.split('.');
    if (labels.length === 4 && labels[3] === 'svc') return byHostname(labels as [string, string, string], port);
    const [name, namespace, svc, ...more] = labels;
    if (name === undefined || namespace === undefined || more.length > 0) return unknown;
    if (svc !== undefined && svc !== 'svc') return unknown;
    return byService(serviceId(namespace, name), port);
  };

  const byAddress = (address: string, port: number): Socks5Resolution => {
    for (const service of catalog.current.services.values()) {
      if (service.clusterIPs.includes(address)) return byService(service.id, port);
    }
    const target = allowAddress?.(address, port);
    if (target === undefined) return { kind: 'forbidden' };
    return { kind: 'upstream', upstream: fixedUpstream(`${address} port ${port}`, target) };
  };

  return ({ host, isName, port }) => (isName ? byName(host, port) : byAddress(host, port));
}
