import type { Service, ServicePort } from '@edgemesh/core';
import { serviceId } from '@edgemesh/core';
import type { ClusterRef } from '@edgemesh/proxy-http';
import { clusterOf, l4TargetOf } from '../common/cluster.ts';
import { upstreamTls } from '../common/destination-rule.ts';
import type { L4Backend, L4Target } from '../model.ts';
import type { Field } from '../read/field.ts';
import { backendTls, type PolicyWork } from './backend-tls.ts';
import { isGranted } from './grants.ts';
import { GATEWAY_GROUP, type RouteKind } from './listener.ts';
import type { Verdict } from './status.ts';

/** Whose references are read. */
export interface BackendWork extends PolicyWork {
  readonly namespace: string;
  readonly kind: RouteKind;
  /** ResolvedRefs. */
  readonly resolved: Verdict;
}

/** A BackendObjectReference as a cluster. Undefined, with a reason in ResolvedRefs, where it cannot be resolved. */
export function readCluster(ref: Field, work: BackendWork): ClusterRef | undefined {
  const found = readService(ref, 'TCP', work);
  if (found === undefined) return undefined;
  const tls = backendTls(found.service, found.port, work) ?? upstreamTls(found, work.context);
  if (tls === 'refused') return undefined;
  return clusterOf({ ...found, ...(tls && { tls }), ...(work.kind === 'GRPCRoute' && { protocol: 'h2' as const }) });
}

/** BackendRefs of TLS, TCP and UDP routes. */
export function readL4Backends(rule: Field, work: BackendWork): L4Backend[] {
  const protocol = work.kind === 'UDPRoute' ? 'UDP' : 'TCP';
  return rule
    .get('backendRefs')
    .items()
    .map((ref) => {
      const found = readService(ref, protocol, work);
      const target: L4Target | undefined = found && l4TargetOf(found.service, found.port);
      return { weight: ref.get('weight').count(0, 1_000_000) ?? 1, ...(target && { target }) };
    });
}

function readService(
  ref: Field,
  protocol: 'TCP' | 'UDP',
  { context, namespace: own, kind: fromKind, resolved }: BackendWork,
): { readonly service: Service; readonly port: ServicePort } | undefined {
  const fail = (reason: string, message: string): undefined => {
    ref.complain(message);
    resolved.fail(reason, message);
  };
  ref.only(['group', 'kind', 'name', 'namespace', 'port', 'weight', 'filters']);
  const group = ref.get('group').text() ?? '';
  const kind = ref.get('kind').name() ?? 'Service';
  const name = ref.get('name').name() ?? '';
  const namespace = ref.get('namespace').name() ?? own;
  if (group !== '' || kind !== 'Service') return fail('InvalidKind', `${group}/${kind} is no kind of backend`);
  const to = { toGroup: '', toKind: 'Service', toNamespace: namespace, toName: name };
  if (!isGranted({ fromGroup: GATEWAY_GROUP, fromKind, fromNamespace: own, ...to }, context)) {
    return fail(
      'RefNotPermitted',
      `no ReferenceGrant in ${namespace} lets a ${fromKind} of ${own} use Service ${name}`,
    );
  }
  const service = context.catalog.services.get(serviceId(namespace, name));
  if (service === undefined) return fail('BackendNotFound', `Service ${namespace}/${name} does not exist`);
  const number = ref.get('port').count(1, 65_535);
  const ports = service.ports.filter((port) => port.protocol === protocol);
  const port = number === undefined && ports.length === 1 ? ports[0] : ports.find((p) => p.port === number);
  if (port === undefined)
    return fail('BackendNotFound', `Service ${service.id} has no ${protocol} port ${number ?? 'by default'}`);
  return { service, port };
}
