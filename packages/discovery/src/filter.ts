import type { Service } from '@edgemesh/core';

/** Whether a label takes a Service out of proxying, or puts it in (COMPAT.md: `modules.edgeProxy.serviceFilterMode`). */
export type ServiceFilterMode = 'FilterIfLabelExists' | 'FilterIfLabelDoesNotExists';

/** EdgeMesh's own label. Its existence counts, not its value. */
export const EDGEMESH_PROXY_LABEL = 'service.edgemesh.kubeedge.io/service-proxy-name';
/** Kubernetes' label for Services that some other proxy handles. */
export const KUBERNETES_PROXY_LABEL = 'service.kubernetes.io/service-proxy-name';

/**
 * True when a Service is to be proxied by this node. Concerns proxying only: names of filtered Services still resolve.
 * `FilterIfLabelExists` proxies all but the Services with EdgeMesh's label, `FilterIfLabelDoesNotExists` only those.
 * Kubernetes' own label hands a Service to somebody else in both modes, as in EdgeMesh v1.
 */
export function isProxiedService(service: Pick<Service, 'labels'>, mode: ServiceFilterMode): boolean {
  if (Object.hasOwn(service.labels, KUBERNETES_PROXY_LABEL)) return false;
  const labelled = Object.hasOwn(service.labels, EDGEMESH_PROXY_LABEL);
  return mode === 'FilterIfLabelExists' ? !labelled : labelled;
}
