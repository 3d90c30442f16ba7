import type { Catalog, KubeObject, Service } from '@edgemesh/core';
import type { FollowRef } from '../model.ts';
import type { GatewayLimits } from '../options.ts';
import type { ConditionList } from '../read/conditions.ts';

/** What the compilers know about the place they compile for. Data and pure functions. */
export interface CompileOptions {
  /** Default `cluster.local`. */
  readonly clusterDomain?: string;
  /**
   * Labels of this gateway, which selectors of Istio Gateways must match. Default: those of the EdgeMesh 1.x gateway's pods,
   * `kubeedge: edgemesh-gateway` and `app: edgemesh-gateway`.
   */
  readonly labels?: Readonly<Record<string, string>>;
  /** The DestinationRule that binds to a Service (`destinationRuleFor` of @edgemesh/lb). Absent: none ever does. */
  readonly destinationRule?: (service: Service, catalog: Catalog) => KubeObject | undefined;
  /** Controller of the GatewayClasses that are ours. Default `edgemesh.kubeedge.io/gateway`. */
  readonly controllerName?: string;
  readonly limits?: Partial<GatewayLimits>;
}

/** What one run of the compilers shares. */
export interface CompileContext {
  readonly catalog: Catalog;
  readonly options: CompileOptions;
  readonly limits: GatewayLimits;
  readonly clusterDomain: string;
  readonly conditions: ConditionList;
  /** What was looked at, or would have been if it were there, by text. */
  readonly follows: Map<string, FollowRef>;
}

/** Notes that the plan depends on this. */
export function follow(ref: FollowRef, { follows }: CompileContext): void {
  follows.set(`${ref.kind} ${ref.namespace}/${ref.name ?? '*'}`, ref);
}
