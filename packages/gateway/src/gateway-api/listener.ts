import type { KubeObject } from '@edgemesh/core';
import type { CompileContext } from '../common/context.ts';
import { normalizeHost } from '../common/hosts.ts';
import type { TlsTermination } from '../model.ts';
import { namespaceOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import { readCredential } from '../tls/credential.ts';
import { isGranted } from './grants.ts';
import { selects } from './selector.ts';
import { type StatusCondition, Verdict } from './status.ts';

/** Kinds of routes. */
export type RouteKind = 'HTTPRoute' | 'GRPCRoute' | 'TLSRoute' | 'TCPRoute' | 'UDPRoute';

/** The group of everything here. */
export const GATEWAY_GROUP = 'gateway.networking.k8s.io';

/** One listener of a Gateway while routes are attached to it. */
export interface Listener {
  readonly gateway: KubeObject;
  readonly field: Field;
  readonly name: string;
  readonly port: number;
  readonly protocol: 'HTTP' | 'HTTPS' | 'TLS' | 'TCP' | 'UDP';
  /** `*` where any. */
  readonly hostname: string;
  readonly tls: 'none' | 'passthrough' | 'refused' | TlsTermination;
  readonly kinds: readonly RouteKind[];
  readonly accepted: Verdict;
  readonly resolved: Verdict;
  readonly conflicted: Verdict;
  portId?: string;
  attached: number;
}

const KINDS: Readonly<Record<Listener['protocol'], readonly RouteKind[]>> = {
  HTTP: ['HTTPRoute', 'GRPCRoute'],
  HTTPS: ['HTTPRoute', 'GRPCRoute'],
  TLS: ['TLSRoute', 'TCPRoute'],
  TCP: ['TCPRoute'],
  UDP: ['UDPRoute'],
};

/** Reads a listener; undefined where it has no name or port to speak of. */
export function readListener(field: Field, gateway: KubeObject, context: CompileContext): Listener | undefined {
  if (!field.isObject()) return undefined;
  field.only(['name', 'hostname', 'port', 'protocol', 'tls', 'allowedRoutes']);
  const name = field.get('name').name();
  const port = field.get('port').count(1, 65_535);
  if (name === undefined || port === undefined) {
    field.complain('needs a name and a port');
    return undefined;
  }
  field.get('allowedRoutes').only(['namespaces', 'kinds']);
  const accepted = new Verdict();
  const resolved = new Verdict();
  const written = field.get('protocol').name() ?? '';
  const protocol = Object.hasOwn(KINDS, written) ? (written as Listener['protocol']) : undefined;
  if (protocol === undefined) {
    field.get('protocol').complain(`${written.slice(0, 40)} is not supported`);
    accepted.fail('UnsupportedProtocol', `protocol ${written.slice(0, 40)} is not supported`);
  }
  const text = field.get('hostname').name();
  const hostname = text === undefined ? '*' : normalizeHost(text);
  if (hostname === undefined) accepted.fail('UnsupportedValue', 'hostname is none');
  const tls = readTls(field.get('tls'), protocol ?? 'HTTP', gateway, { context, accepted, resolved });
  return {
    gateway,
    field,
    name,
    port,
    protocol: protocol ?? 'HTTP',
    hostname: hostname ?? '*',
    tls,
    kinds: readKinds(field.get('allowedRoutes').get('kinds'), protocol, resolved),
    accepted,
    resolved,
    conflicted: new Verdict(),
    attached: 0,
  };
}

function readKinds(field: Field, protocol: Listener['protocol'] | undefined, resolved: Verdict): readonly RouteKind[] {
  const supported = protocol === undefined ? [] : KINDS[protocol];
  const items = field.items();
  if (items.length === 0) return supported;
  return items.flatMap((item) => {
    item.only(['group', 'kind']);
    const group = item.get('group').text() ?? GATEWAY_GROUP;
    const kind = item.get('kind').name();
    const found = supported.find((known) => known === kind && group === GATEWAY_GROUP);
    if (found !== undefined) return [found];
    item.complain('is no kind of route for this protocol');
    resolved.fail('InvalidRouteKinds', `${group}/${kind} is no kind of route for this protocol`);
    return [];
  });
}

interface TlsWork {
  readonly context: CompileContext;
  readonly accepted: Verdict;
  readonly resolved: Verdict;
}

function readTls(field: Field, protocol: Listener['protocol'], gateway: KubeObject, work: TlsWork): Listener['tls'] {
  if (protocol !== 'HTTPS' && protocol !== 'TLS') return 'none';
  if (!field.isObject()) {
    work.accepted.fail('UnsupportedValue', `protocol ${protocol} needs tls`);
    return 'refused';
  }
  const mode = field.get('mode').oneOf(['Terminate', 'Passthrough']) ?? 'Terminate';
  // Client validation guards the door: to ignore it would open it.
  if (!field.only(['mode', 'certificateRefs', 'options'], 'is not supported: this listener is refused')) {
    work.accepted.fail('UnsupportedValue', `tls of listener: only mode and certificateRefs are supported`);
    return 'refused';
  }
  if (mode === 'Passthrough') {
    if (protocol === 'TLS') return 'passthrough';
    field.get('mode').complain('HTTPS listeners terminate TLS');
    work.accepted.fail('UnsupportedValue', 'HTTPS listeners terminate TLS');
    return 'refused';
  }
  const certificates = field
    .get('certificateRefs')
    .items()
    .flatMap((ref) => readCertificate(ref, gateway, work));
  if (certificates.length === 0) {
    work.resolved.fail('InvalidCertificateRef', 'there is no certificate');
    return 'refused';
  }
  return { certificates, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' };
}

function readCertificate(
  ref: Field,
  gateway: KubeObject,
  { context, resolved }: TlsWork,
): TlsTermination['certificates'] {
  ref.only(['group', 'kind', 'name', 'namespace']);
  const kind = ref.get('kind').name() ?? 'Secret';
  const group = ref.get('group').text() ?? '';
  const name = ref.get('name').name() ?? '';
  const own = namespaceOf(gateway);
  const namespace = ref.get('namespace').name() ?? own;
  const fail = (reason: string, message: string) => {
    ref.complain(message);
    resolved.fail(reason, message);
    return [];
  };
  if (kind !== 'Secret' || group !== '') return fail('InvalidCertificateRef', `${group}/${kind} is no Secret`);
  const to = { toGroup: '', toKind: 'Secret', toNamespace: namespace, toName: name };
  if (!isGranted({ fromGroup: GATEWAY_GROUP, fromKind: 'Gateway', fromNamespace: own, ...to }, context)) {
    return fail('RefNotPermitted', `no ReferenceGrant in ${namespace} lets Gateways of ${own} use Secret ${name}`);
  }
  const credential = readCredential({ namespace, name }, context);
  return credential.problem === undefined ? credential.certificates : fail('InvalidCertificateRef', credential.problem);
}

/** Whether routes of a namespace may attach. */
export function allowsNamespace(listener: Listener, namespace: string, context: CompileContext): boolean {
  const namespaces = listener.field.get('allowedRoutes').get('namespaces');
  namespaces.only(['from', 'selector']);
  const from = namespaces.get('from').oneOf(['All', 'Same', 'Selector', 'None']) ?? 'Same';
  if (from === 'All') return true;
  if (from === 'Same') return namespace === namespaceOf(listener.gateway);
  if (from === 'None') return false;
  const labels = context.catalog.objects.get('Namespace')?.get(namespace)?.metadata.labels ?? {};
  return selects(namespaces.get('selector'), { ...labels, 'kubernetes.io/metadata.name': namespace });
}

/** The status of a listener, without `Programmed`. */
export function listenerStatus(listener: Listener): Readonly<Record<string, unknown>> {
  const { gateway, accepted, resolved, conflicted } = listener;
  const clash = conflicted.as(gateway, 'Conflicted', 'NoConflicts');
  const conflict: StatusCondition = { ...clash, status: clash.status === 'True' ? 'False' : 'True' };
  return {
    name: listener.name,
    supportedKinds: listener.kinds.map((kind) => ({ group: GATEWAY_GROUP, kind })),
    attachedRoutes: listener.attached,
    conditions: [accepted.as(gateway, 'Accepted'), resolved.as(gateway, 'ResolvedRefs'), conflict],
  };
}
