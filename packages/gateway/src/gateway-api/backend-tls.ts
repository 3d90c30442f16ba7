import type { KubeObject, Service, ServicePort } from '@edgemesh/core';
import type { UpstreamTls } from '@edgemesh/proxy-http';
import { type CompileContext, follow } from '../common/context.ts';
import { byAge, namespaceOf, specOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import type { PolicyUses, PolicyVerdicts } from './policy-uses.ts';

const KIND = 'BackendTLSPolicy.gateway.networking.k8s.io';

/** On whose behalf policies are looked for. */
export interface PolicyWork {
  readonly context: CompileContext;
  /** Gateways that the route is attached to. */
  readonly gateways: ReadonlySet<KubeObject>;
  readonly policies: PolicyUses;
}

/** TLS towards a Service by BackendTLSPolicy. `refused` where it asks for what cannot be given: requests fail then. */
export function backendTls(
  service: Service,
  port: ServicePort,
  { context, gateways, policies }: PolicyWork,
): UpstreamTls | 'refused' | undefined {
  const own = [...(context.catalog.objects.get(KIND)?.values() ?? [])]
    .filter((policy) => namespaceOf(policy) === service.namespace)
    .sort(byAge)
    .map((policy) => ({ policy, spec: specOf(policy, context.conditions) }));
  const targeting = (section: (ref: Field) => boolean) =>
    own.filter(({ spec }) =>
      spec
        .get('targetRefs')
        .items()
        .some((ref) => isService(ref, service) && section(ref)),
    );
  const ofPort = targeting((ref) => ref.get('sectionName').value === port.name);
  const ofService = targeting((ref) => ref.get('sectionName').absent);
  // One port before the whole Service; among equals the oldest.
  for (const [, ...younger] of [ofPort, ofService]) {
    for (const { policy } of younger)
      policies.use(policy, gateways).accepted.fail('Conflicted', 'an older policy has the same target');
  }
  const [chosen] = [...ofPort, ...ofService];
  if (chosen === undefined) return undefined;
  chosen.spec.only(['targetRefs', 'validation', 'options']);
  const verdicts = policies.use(chosen.policy, gateways);
  return readValidation(chosen.spec.get('validation'), service.namespace, { context, ...verdicts });
}

function isService(ref: Field, { name }: Service): boolean {
  return (ref.get('group').value ?? '') === '' && ref.get('kind').value === 'Service' && ref.get('name').value === name;
}

interface ValidationWork extends PolicyVerdicts {
  readonly context: CompileContext;
}

function readValidation(field: Field, namespace: string, work: ValidationWork): UpstreamTls | 'refused' {
  const { accepted } = work;
  if (!field.isObject() || !field.only(['caCertificateRefs', 'wellKnownCACertificates', 'hostname'])) {
    accepted.fail('Invalid', 'validation: only caCertificateRefs, wellKnownCACertificates and hostname are supported');
    return 'refused';
  }
  const serverName = field.get('hostname').name();
  if (serverName === undefined) {
    field.get('hostname').complain('is required');
    accepted.fail('Invalid', 'validation.hostname is required');
    return 'refused';
  }
  if (field.get('wellKnownCACertificates').value === 'System') return { serverName };
  const pems = field
    .get('caCertificateRefs')
    .items()
    .flatMap((ref) => readCa(ref, namespace, work) ?? []);
  if (pems.length === 0) {
    field.complain('no CA certificate can be read');
    accepted.fail('NoValidCACertificate', 'no CA certificate can be read');
    return 'refused';
  }
  return { serverName, ca: pems.join('\n') };
}

function readCa(ref: Field, namespace: string, { context, resolved }: ValidationWork): string | undefined {
  const kind = ref.get('kind').oneOf(['ConfigMap']);
  const name = ref.get('name').name();
  if (kind === undefined || name === undefined) {
    resolved.fail('InvalidKind', 'a CA certificate comes from a ConfigMap');
    return undefined;
  }
  follow({ kind: 'ConfigMap', namespace, name }, context);
  const data = context.catalog.objects.get('ConfigMap')?.get(`${namespace}/${name}`)?.data as
    | { 'ca.crt'?: unknown }
    | null
    | undefined;
  const pem = data?.['ca.crt'];
  if (typeof pem === 'string') return pem;
  const problem = `ConfigMap ${namespace}/${name} with key ca.crt is not known here`;
  ref.complain(problem);
  resolved.fail('InvalidCACertificateRef', problem);
  return undefined;
}
