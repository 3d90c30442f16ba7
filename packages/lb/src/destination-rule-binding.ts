import type { KubeObject, Service } from '@edgemesh/core';

/** The group and kind of rules this package understands, as {@link groupKind} writes it. */
export const DESTINATION_RULE_KIND = 'DestinationRule.networking.istio.io';

/** How well a rule fits; the larger the better, 0 is not at all. */
type Fit = 0 | 1 | 2 | 3;

/**
 * The rule that binds to a Service, if any: first the one of the Service's own name and namespace, whatever its host (the rule
 * of EdgeMesh 1.x); else one whose host names the Service, exact before wildcard; among equals one from the Service's
 * namespace, then the oldest, then by name.
 */
export function destinationRuleFor(
  service: Pick<Service, 'namespace' | 'name'>,
  rules: Iterable<KubeObject>,
  clusterDomain = 'cluster.local',
): KubeObject | undefined {
  let best: KubeObject | undefined;
  let bestFit: Fit = 0;
  for (const rule of rules) {
    const fit = fitOf(rule, service, clusterDomain);
    if (fit === 0 || fit < bestFit) continue;
    if (best !== undefined && fit === bestFit && !comesFirst(rule, best, service.namespace)) continue;
    best = rule;
    bestFit = fit;
  }
  return best;
}

function fitOf(rule: KubeObject, service: Pick<Service, 'namespace' | 'name'>, clusterDomain: string): Fit {
  const namespace = rule.metadata.namespace ?? 'default';
  if (namespace === service.namespace && rule.metadata.name === service.name) return 3;
  const spec = rule.spec as { host?: unknown; exportTo?: unknown } | null | undefined;
  if (typeof spec?.host !== 'string') return 0;
  if (!isExportedTo(spec.exportTo, namespace, service.namespace)) return 0;
  const host = expandHost(spec.host, namespace, clusterDomain);
  const full = `${service.name}.${service.namespace}.svc.${clusterDomain}`.toLowerCase();
  if (host === full) return 2;
  if (host === '*') return 1;
  return host.startsWith('*.') && full.endsWith(host.slice(1)) ? 1 : 0;
}

/** `reviews`, `reviews.prod`, `reviews.prod.svc` and the full name, in any case and with a final dot, as the full name. */
function expandHost(written: string, namespace: string, clusterDomain: string): string {
  const host = written.trim().toLowerCase().replace(/\.$/, '');
  if (host === '*') return host;
  const domain = clusterDomain.toLowerCase();
  if (host.endsWith(`.svc.${domain}`)) return host;
  if (host.endsWith('.svc')) return `${host}.${domain}`;
  const labels = host.split('.');
  if (labels.length === 1) return `${host}.${namespace.toLowerCase()}.svc.${domain}`;
  if (labels.length === 2) return `${host}.svc.${domain}`;
  return host;
}

function isExportedTo(exportTo: unknown, ruleNamespace: string, serviceNamespace: string): boolean {
  if (!Array.isArray(exportTo) || exportTo.length === 0) return true;
  return exportTo.some(
    (entry) =>
      entry === '*' || (entry === '.' && ruleNamespace === serviceNamespace) || String(entry) === serviceNamespace,
  );
}

function comesFirst(a: KubeObject, b: KubeObject, serviceNamespace: string): boolean {
  const aHome = a.metadata.namespace === serviceNamespace;
  const bHome = b.metadata.namespace === serviceNamespace;
  if (aHome !== bHome) return aHome;
  const aKey = `${a.metadata.creationTimestamp ?? ''} ${a.metadata.namespace ?? ''}/${a.metadata.name}`;
  const bKey = `${b.metadata.creationTimestamp ?? ''} ${b.metadata.namespace ?? ''}/${b.metadata.name}`;
  return aKey < bKey;
}
