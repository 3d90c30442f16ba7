import type { Catalog } from '@edgemesh/core';
import type { CompileContext, CompileOptions } from './common/context.ts';
import { PortDrafts } from './common/port-drafts.ts';
import { compileGatewayApi } from './gateway-api/compile-gateway-api.ts';
import { compileIngress } from './ingress/compile-ingress.ts';
import { compileIstio } from './istio/compile-istio.ts';
import type { GatewayPlan } from './model.ts';
import { gatewayLimits } from './options.ts';
import { createConditionList } from './read/conditions.ts';

const FOLLOW_ORDER = { Secret: 0, ConfigMap: 1, Pod: 2 } as const;

/**
 * Compiles everything that the catalog says about gateways: Istio's Gateways and VirtualServices, the Gateway API, Ingresses.
 * Pure, and never throws: what cannot be understood is in the plan's conditions, with its path.
 */
export function compileGateway(catalog: Catalog, options: CompileOptions = {}): GatewayPlan {
  const limits = gatewayLimits(options.limits);
  const conditions = createConditionList(limits.maxConditions);
  const context: CompileContext = {
    catalog,
    options,
    limits,
    clusterDomain: options.clusterDomain ?? 'cluster.local',
    conditions,
    follows: new Map(),
  };
  const drafts = new PortDrafts(limits.maxRoutesPerPort, (port, host) =>
    conditions.add('gateway', port, `more than ${limits.maxRoutesPerPort} routes; some of ${host} are left out`),
  );
  compileIstio(context, drafts);
  const statuses = [...compileGatewayApi(context, drafts), ...compileIngress(context, drafts)];
  const follows = [...context.follows.values()].sort((a, b) => FOLLOW_ORDER[a.kind] - FOLLOW_ORDER[b.kind]);
  if (follows.length > limits.maxFollowed) {
    const named = `${follows.length} Secrets, ConfigMaps and namespaces of Pods are named`;
    conditions.add('gateway', 'follows', `${named}, ${limits.maxFollowed} are followed`);
  }
  return {
    ports: drafts.plans(),
    conditions: conditions.list,
    droppedConditions: conditions.dropped,
    follows: follows.slice(0, limits.maxFollowed),
    statuses,
  };
}
