import type { KubeObject } from '@edgemesh/core';
import type { CompileContext } from '../common/context.ts';
import { intersectHosts, normalizeHost } from '../common/hosts.ts';
import { namespaceOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import { allowsNamespace, GATEWAY_GROUP, type Listener, type RouteKind } from './listener.ts';
import { Verdict } from './status.ts';

/** Where a route is attached through one of its parentRefs. */
export interface Attachment {
  readonly ref: Field;
  /** Accepted. */
  readonly accepted: Verdict;
  readonly places: readonly { readonly listener: Listener; readonly hosts: readonly string[] }[];
}

/** Follows the parentRefs that name Gateways of ours. */
export function attach(
  route: KubeObject,
  kind: RouteKind,
  spec: Field,
  listeners: readonly Listener[],
  context: CompileContext,
): Attachment[] {
  const namespace = namespaceOf(route);
  const hostnames = readHostnames(spec.get('hostnames'));
  const attachments = spec
    .get('parentRefs')
    .items()
    .flatMap((ref) => {
      ref.only(['group', 'kind', 'namespace', 'name', 'sectionName', 'port']);
      const group = ref.get('group').text() ?? GATEWAY_GROUP;
      if (group !== GATEWAY_GROUP || (ref.get('kind').name() ?? 'Gateway') !== 'Gateway') return [];
      const parentNamespace = ref.get('namespace').name() ?? namespace;
      const parentName = ref.get('name').name();
      const ofParent = listeners.filter(
        ({ gateway }) => gateway.metadata.name === parentName && namespaceOf(gateway) === parentNamespace,
      );
      if (ofParent.length === 0) return [];
      return [attachTo(ref, ofParent, { kind, namespace, hostnames, context })];
    });
  // Several parentRefs may lead to one listener; it has the route once.
  const attachedTo = new Set(attachments.flatMap(({ places }) => places.map(({ listener }) => listener)));
  for (const listener of attachedTo) listener.attached++;
  return attachments;
}

interface Wish {
  readonly kind: RouteKind;
  readonly namespace: string;
  readonly hostnames: readonly string[] | undefined;
  readonly context: CompileContext;
}

function attachTo(
  ref: Field,
  ofParent: readonly Listener[],
  { kind, namespace, hostnames, context }: Wish,
): Attachment {
  const accepted = new Verdict();
  const refuse = (reason: string, message: string): Attachment => {
    ref.complain(message);
    accepted.fail(reason, message);
    return { ref, accepted, places: [] };
  };
  const section = ref.get('sectionName').name();
  const port = ref.get('port').count(1, 65_535);
  const named = ofParent.filter(
    (l) => (section === undefined || l.name === section) && (port === undefined || l.port === port),
  );
  if (named.length === 0) return refuse('NoMatchingParent', 'no listener of the Gateway has this name and port');
  const open = named.filter((l) => l.kinds.includes(kind) && allowsNamespace(l, namespace, context));
  if (open.length === 0)
    return refuse('NotAllowedByListeners', `no listener of the Gateway allows a ${kind} of namespace ${namespace}`);
  const places = open.flatMap((listener) => {
    const hosts = hostsAt(listener, kind, hostnames);
    return hosts.length === 0 ? [] : [{ listener, hosts }];
  });
  if (places.length === 0)
    return refuse('NoMatchingListenerHostname', 'no listener of the Gateway has any of these hostnames');
  return { ref, accepted, places };
}

function hostsAt(listener: Listener, kind: RouteKind, hostnames: readonly string[] | undefined): string[] {
  if (kind === 'TCPRoute' || kind === 'UDPRoute' || hostnames === undefined) return [listener.hostname];
  return [...new Set(hostnames.flatMap((host) => intersectHosts(host, listener.hostname) ?? []))];
}

/** Undefined: every host. */
function readHostnames(field: Field): readonly string[] | undefined {
  const items = field.items();
  if (items.length === 0) return undefined;
  return items.flatMap((item) => {
    const text = item.name();
    const host = text === undefined ? undefined : normalizeHost(text);
    if (host === undefined) item.complain('is no hostname');
    return host ?? [];
  });
}
