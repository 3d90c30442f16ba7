import type { Clock, Dialer, Logger, Metrics, Random } from '@edgemesh/core';
import { createHttpListener, EMPTY_ROUTE_TABLE, type HttpProxy } from '@edgemesh/proxy-http';
import {
  type ConnectionBudget,
  createTcpProxy,
  createUdpProxy,
  type ServiceProxy,
  type Upstream,
} from '@edgemesh/proxy-l4';
import type { GatewayMetrics } from '../metrics.ts';
import type { L4Backend, PortPlan } from '../model.ts';
import type { GatewayLimits } from '../options.ts';
import type { ClusterUpstreams } from './cluster-upstreams.ts';
import type { OpenListener } from './listener-table.ts';
import { pickWeighted } from './pick-weighted.ts';
import { createTlsListener } from './tls-listener.ts';

/** One port on one address. */
export interface ListenerSpec {
  readonly portId: string;
  readonly kind: PortPlan['kind'];
  readonly host: string;
  readonly port: number;
}

/** What listeners are made of. */
export interface ListenerDeps {
  /** The plan of the port at this moment. */
  readonly port: () => PortPlan | undefined;
  readonly upstreams: ClusterUpstreams;
  readonly services: ServiceProxy;
  readonly proxy: HttpProxy;
  readonly dialer: Dialer;
  readonly budget: ConnectionBudget;
  readonly flows: ConnectionBudget;
  readonly gatewayMetrics: GatewayMetrics;
  readonly metrics: Metrics;
  readonly random: Random;
  readonly limits: GatewayLimits;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Opens a listener that always does what the plan of its port says now. Rejects with the reason where it cannot. */
export function openListener(spec: ListenerSpec, deps: ListenerDeps): Promise<OpenListener> {
  const { host, port } = spec;
  const { proxy, dialer, limits, log, metrics, clock, budget } = deps;
  const common = { dialer, log, metrics, clock };
  switch (spec.kind) {
    case 'http':
      return createHttpListener({
        proxy,
        address: host,
        port,
        routes: () => {
          const plan = deps.port();
          return plan?.kind === 'http' ? plan.table : EMPTY_ROUTE_TABLE;
        },
      });
    case 'tls':
      return createTlsListener(
        { host, port },
        {
          chains: () => {
            const plan = deps.port();
            return plan?.kind === 'tls' ? plan.chains : [];
          },
          upstreamOf: (backends) => upstreamOf(backends, deps),
          proxy,
          services: deps.services,
          budget,
          metrics: deps.gatewayMetrics,
          limits,
          clock,
          log,
        },
      );
    case 'tcp':
      return createTcpProxy(
        { listen: { host, port }, drainMs: limits.drainMs },
        { ...common, budget, route: () => upstreamOf(l4Backends(deps.port()), deps) },
      );
    case 'udp':
      return createUdpProxy(
        { listen: { host, port } },
        { ...common, budget: deps.flows, route: () => upstreamOf(l4Backends(deps.port()), deps) },
      );
  }
}

function l4Backends(plan: PortPlan | undefined): readonly L4Backend[] {
  return plan?.kind === 'tcp' || plan?.kind === 'udp' ? plan.backends : [];
}

function upstreamOf(backends: readonly L4Backend[], { upstreams, random }: ListenerDeps): Upstream | undefined {
  const target = pickWeighted(backends, random)?.target;
  return target && upstreams.get(target);
}
