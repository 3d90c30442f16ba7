import type { Service, ServicePort } from '@edgemesh/core';
import type { UpstreamTls } from '@edgemesh/proxy-http';
import { namespaceOf, specOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import { readCredential } from '../tls/credential.ts';
import { type CompileContext, follow } from './context.ts';

const TLS_MODES = ['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL'] as const;

/** Why a subset of a Service cannot be resolved; undefined where it can. */
export function subsetProblem(service: Service, subset: string, context: CompileContext): string | undefined {
  const rule = context.options.destinationRule?.(service, context.catalog);
  if (rule === undefined) return `no DestinationRule defines subset ${subset} of ${service.id}`;
  const names = specOf(rule, context.conditions)
    .get('subsets')
    .items()
    .map((item) => item.get('name').name());
  if (!names.includes(subset)) return `the DestinationRule of ${service.id} has no subset ${subset}`;
  const labels = subsetLabels(rule, subset);
  if (labels === undefined) return `the labels of subset ${subset} cannot be read`;
  if (Object.keys(labels).length === 0) return undefined;
  follow({ kind: 'Pod', namespace: service.namespace }, context);
  if (!context.catalog.objects.get('Pod')?.size)
    return `subset ${subset} needs the labels of Pods, and no Pod is known here`;
  return undefined;
}

/** Labels of a subset of a Service; undefined where there is none, or they are no labels. */
export function subsetLabels(rule: unknown, subset: string): Readonly<Record<string, string>> | undefined {
  const subsets = (rule as { spec?: { subsets?: unknown } } | undefined)?.spec?.subsets;
  if (!Array.isArray(subsets)) return undefined;
  const found = (subsets as ({ name?: unknown; labels?: unknown } | null)[]).find((item) => item?.name === subset);
  const labels = found?.labels;
  if (typeof labels !== 'object' || labels === null) return found === undefined ? undefined : {};
  const entries = Object.entries(labels);
  // manifests may write 1 for '1'
  if (entries.some(([, value]) => typeof value === 'object')) return undefined;
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}

/**
 * How the DestinationRule of a Service wants its endpoints to be spoken to. `refused` where it asks for TLS that cannot be
 * given: plain text instead would be worse than an error. The settings of a subset stand before those of the rule.
 */
export function upstreamTls(
  { service, port, subset }: { readonly service: Service; readonly port: ServicePort; readonly subset?: string },
  context: CompileContext,
): UpstreamTls | 'refused' | undefined {
  const rule = context.options.destinationRule?.(service, context.catalog);
  if (rule === undefined) return undefined;
  const spec = specOf(rule, context.conditions);
  const own = spec
    .get('subsets')
    .items()
    .find((item) => subset !== undefined && item.get('name').value === subset);
  const policies = [...(own ? [own.get('trafficPolicy')] : []), spec.get('trafficPolicy')];
  const found = policies.map((policy) => tlsOf(policy, port.port)).find((tls) => !tls.absent);
  return found && readClientTls(found, namespaceOf(rule), context);
}

function tlsOf(policy: Field, port: number): Field {
  const own = policy
    .get('portLevelSettings')
    .items()
    .find((item) => item.get('port').get('number').value === port);
  return own === undefined || own.get('tls').absent ? policy.get('tls') : own.get('tls');
}

function readClientTls(tls: Field, namespace: string, context: CompileContext): UpstreamTls | 'refused' | undefined {
  if (!tls.isObject()) return undefined;
  const mode = tls.get('mode').oneOf(TLS_MODES) ?? 'DISABLE';
  if (mode === 'DISABLE') return undefined;
  if (mode === 'ISTIO_MUTUAL') {
    tls.get('mode').complain('there are no sidecars, ISTIO_MUTUAL is not supported: requests are answered with 503');
    return 'refused';
  }
  const known = ['mode', 'sni', 'insecureSkipVerify', 'credentialName'];
  if (!tls.only(known, 'is not supported: requests are answered with 503')) return 'refused';
  const name = tls.get('credentialName').name();
  const credential = name === undefined ? undefined : readCredential({ namespace, name }, context);
  const [pair] = credential?.certificates ?? [];
  if (mode === 'MUTUAL' && pair === undefined) {
    tls.complain(`MUTUAL needs a client certificate: ${credential?.problem ?? 'credentialName is not set'}`);
    return 'refused';
  }
  const serverName = tls.get('sni').name();
  return {
    ...(serverName !== undefined && { serverName }),
    ...(credential?.ca !== undefined && { ca: credential.ca }),
    ...(mode === 'MUTUAL' && pair),
    ...(tls.get('insecureSkipVerify').flag() && { insecureSkipVerify: true }),
  };
}
