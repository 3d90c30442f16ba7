import type { Dialer, Endpoint } from '@edgemesh/core';
import { endpointKey } from '@edgemesh/core';
import type { HttpProxyError } from '../errors.ts';
import { HttpProxyError as ProxyError } from '../errors.ts';
import type { RequestHead, ResponseSink, UpstreamStream } from '../message.ts';
import type { HttpLimits } from '../options.ts';
import type { ClusterRef } from '../route-model.ts';
import type { Sweeper } from '../sweeper.ts';
import { EndpointPool } from './endpoint-pool.ts';
import { tlsIdentity } from './tls-stream.ts';

export interface PoolsOptions {
  readonly dialer: Dialer;
  readonly limits: HttpLimits;
  readonly sweeper: Sweeper;
}

/** What a request asks of the pools. */
export interface UpstreamTarget {
  readonly cluster: ClusterRef;
  readonly endpoint: Endpoint;
  readonly protocol: 'http1' | 'h2';
  readonly clientAddress: string;
}

/** All upstream connections of a proxy: one pool per endpoint, protocol and TLS identity. */
export class UpstreamPools {
  private readonly pools = new Map<string, EndpointPool>();
  /** The pool last used for an endpoint object, which lives as long as a catalog snapshot does. */
  private readonly recent = new WeakMap<Endpoint, EndpointPool>();
  private readonly options: PoolsOptions;
  private closed = false;

  constructor(options: PoolsOptions) {
    this.options = options;
  }

  /** Connections that are open or opening. */
  get connections(): number {
    let count = 0;
    for (const pool of this.pools.values()) count += pool.connections;
    return count;
  }

  /** Starts a request. Failures come through the sink, except that nothing may be started: that is thrown. */
  send(target: UpstreamTarget, head: RequestHead, sink: ResponseSink): UpstreamStream {
    if (this.closed) throw new ProxyError('shutdown', 'the proxy is stopping', { retryable: false });
    return this.poolOf(target).send(head, sink, target.clientAddress);
  }

  /** Fails everything that is still running. */
  destroy(why: HttpProxyError): void {
    this.closed = true;
    for (const pool of this.pools.values()) pool.destroy(why);
    this.pools.clear();
  }

  private poolOf({ cluster, endpoint, protocol }: UpstreamTarget): EndpointPool {
    const recent = this.recent.get(endpoint);
    if (recent?.serves(protocol, cluster.tls) === true) return recent;
    const key = `${protocol}|${tlsIdentity(cluster.tls)}|${endpointKey(endpoint)}`;
    let pool = this.pools.get(key);
    if (pool === undefined) {
      if (this.pools.size >= this.options.limits.maxPools) this.forgetIdle();
      pool = new EndpointPool({ ...this.options, endpoint, protocol, tls: cluster.tls });
      this.pools.set(key, pool);
    }
    this.recent.set(endpoint, pool);
    return pool;
  }

  /** Drops the pools without connections. Those in use are bounded by the requests in flight. */
  private forgetIdle(): void {
    for (const [key, pool] of this.pools) {
      if (pool.connections > 0) continue;
      pool.retire();
      this.pools.delete(key);
    }
  }
}
