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
  const candidates = [...(context.catalog.objects.get(KIND)?.values() ?? [])]
    .filter((policy) => namespaceOf(policy) === service.namespace)
    .sort(byAge)
    .map((policy) => specOf(policy, context.conditions));
  const names = (section: (ref: Field) => boolean) =>
    candidates.find((spec) =>
      spec
        .get('targetRefs')
        .items()
        .some((ref) => isService(ref, service) && section(ref)),
    );
  // One port before the whole Service; among equals the oldest.
  const spec =
    names((ref) => ref.get('sectionName').value === port.name) ?? names((ref) => ref.get('sectionName').absent);
  if (spec === undefined) return undefined;
  spec.only(['targetRefs', 'validation', 'options']);
  return readValidation(spec.get('validation'), service.namespace, context);
}

function isService(ref: Field, { name }: Service): boolean {
  return (ref.get('group').value ?? '') === '' && ref.get('kind').value === 'Service' && ref.get('name').value === name;
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
