import type { Service, ServicePort } from '@edgemesh/core';
import type { UpstreamTls } from '@edgemesh/proxy-http';
import { type CompileContext, follow } from '../common/context.ts';
import { byAge, namespaceOf, specOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';

const KIND = 'BackendTLSPolicy.gateway.networking.k8s.io';

/** TLS towards a Service by BackendTLSPolicy. `refused` where it asks for what cannot be given: requests fail then. */
export function backendTls(
  service: Service,
  port: ServicePort,
  context: CompileContext,
): UpstreamTls | 'refused' | undefined {
  const policies = [...(context.catalog.objects.get(KIND)?.values() ?? [])].sort(byAge);
  for (const policy of policies) {
    if (namespaceOf(policy) !== service.namespace) continue;
    const spec = specOf(policy, context.conditions);
    const targets = spec.get('targetRefs').items();
    spec.only(['targetRefs', 'validation', 'options']);
    const isTarget = (ref: Field) =>
      (ref.get('group').value ?? '') === '' &&
      ref.get('kind').value === 'Service' &&
      ref.get('name').value === service.name &&
      (ref.get('sectionName').absent || ref.get('sectionName').value === port.name);
    if (targets.some(isTarget)) return readValidation(spec.get('validation'), service.namespace, context);
  }
  return undefined;
}

function readValidation(field: Field, namespace: string, context: CompileContext): UpstreamTls | 'refused' {
  if (!field.isObject() || !field.only(['caCertificateRefs', 'wellKnownCACertificates', 'hostname'])) return 'refused';
  const serverName = field.get('hostname').name();
  if (serverName === undefined) {
    field.get('hostname').complain('is required');
    return 'refused';
  }
  if (field.get('wellKnownCACertificates').value === 'System') return { serverName };
  const pems = field
    .get('caCertificateRefs')
    .items()
    .flatMap((ref) => readCa(ref, namespace, context) ?? []);
  if (pems.length === 0) {
    field.complain('no CA certificate can be read');
    return 'refused';
  }
  return { serverName, ca: pems.join('\n') };
}

function readCa(ref: Field, namespace: string, context: CompileContext): string | undefined {
  const kind = ref.get('kind').oneOf(['ConfigMap']);
  const name = ref.get('name').name();
  if (kind === undefined || name === undefined) return undefined;
  follow({ kind: 'ConfigMap', namespace, name }, context);
  const data = context.catalog.objects.get('ConfigMap')?.get(`${namespace}/${name}`)?.data as
    | { 'ca.crt'?: unknown }
    | null
    | undefined;
  const pem = data?.['ca.crt'];
  if (typeof pem === 'string') return pem;
  ref.complain(`ConfigMap ${namespace}/${name} with key ca.crt is not known here`);
  return undefined;
}
