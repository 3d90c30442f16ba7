import { type KubeObject, objectKey, type Service, serviceId } from '@edgemesh/core';
import type { PathMatch, Route, WeightedBackend } from '@edgemesh/proxy-http';
import { clusterOf } from '../common/cluster.ts';
import type { CompileContext } from '../common/context.ts';
import { upstreamTls } from '../common/destination-rule.ts';
import { hostCovers, normalizeHost } from '../common/hosts.ts';
import type { PortDrafts } from '../common/port-drafts.ts';
import { statusOf } from '../gateway-api/status.ts';
import type { ObjectStatus } from '../model.ts';
import { byAge, compare, namespaceOf, objectName, specOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import { readCredential } from '../tls/credential.ts';

const GROUP = 'networking.k8s.io';
/** Controller of the IngressClasses that are ours. */
export const INGRESS_CONTROLLER = 'edgemesh.kubeedge.io/ingress';
const HTTP_PORT = 80;
const HTTPS_PORT = 443;

interface Placed {
  readonly host: string;
  readonly path: PathMatch;
  readonly route: Route;
  readonly owner: KubeObject;
}

/** networking.k8s.io/v1 Ingresses of our classes, on ports 80 and 443. Longest path first, exact before prefix. Answers their statuses. */
export function compileIngress(context: CompileContext, drafts: PortDrafts): ObjectStatus[] {
  const { objects } = context.catalog;
  const classes = [...(objects.get(`IngressClass.${GROUP}`)?.values() ?? [])].filter(
    (object) => specOf(object, context.conditions).get('controller').value === INGRESS_CONTROLLER,
  );
  const names = new Set(classes.map(({ metadata }) => metadata.name));
  const byDefault = classes.some(
    ({ metadata }) => metadata.annotations?.['ingressclass.kubernetes.io/is-default-class'] === 'true',
  );
  const ingresses = [...(objects.get(`Ingress.${GROUP}`)?.values() ?? [])].sort(byAge).filter((ingress) => {
    const className = specOf(ingress, context.conditions).get('ingressClassName');
    return className.absent ? byDefault : names.has(className.text() ?? '');
  });
  if (ingresses.length === 0) return [];
  const placed = ingresses.flatMap((ingress) => readIngress(ingress, context));
  placed.sort(
    (a, b) => b.path.value.length - a.path.value.length || compare(a.path.kind, b.path.kind) || byAge(a.owner, b.owner),
  );
  addHttp(placed, ingresses, context, drafts);
  for (const ingress of ingresses) addTls(ingress, placed, context, drafts);
  return ingresses.map((ingress) => ({ ...statusOf(ingress, {}), listenerPorts: { http: `TCP ${HTTP_PORT}` } }));
}

function addHttp(
  placed: readonly Placed[],
  ingresses: readonly KubeObject[],
  context: CompileContext,
  drafts: PortDrafts,
): void {
  for (const ingress of ingresses) {
    const draft = drafts.http({ port: HTTP_PORT, owner: objectName(ingress) });
    if ('refused' in draft) {
      context.conditions.add(objectName(ingress), 'spec.rules', draft.refused);
      return;
    }
    if (ingress !== ingresses[0]) continue;
    for (const host of new Set(placed.map((entry) => entry.host))) {
      draft.add(
        host,
        placed.filter((entry) => entry.host === host).map(({ route }) => route),
      );
    }
  }
}

function addTls(ingress: KubeObject, placed: readonly Placed[], context: CompileContext, drafts: PortDrafts): void {
  for (const item of specOf(ingress, context.conditions).get('tls').items()) {
    item.only(['hosts', 'secretName']);
    const written = item
      .get('hosts')
      .texts()
      .flatMap((host) => normalizeHost(host) ?? []);
    const hosts = written.length > 0 ? written : ['*'];
    const name = item.get('secretName').name() ?? '';
    const { certificates, problem } = readCredential({ namespace: namespaceOf(ingress), name }, context);
    const wish = { port: HTTPS_PORT, owner: objectName(ingress) };
    const chainName = objectKey(ingress.metadata);
    if (problem !== undefined) {
      item.complain(problem);
      const refused = drafts.chain(wish, { name: chainName, hosts, handler: { kind: 'refused', reason: problem } });
      if ('refused' in refused) item.complain(refused.refused);
      continue;
    }
    const tls = { certificates, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' } as const;
    const draft = drafts.https(wish, { name: chainName, hosts, tls });
    if ('refused' in draft) {
      item.complain(draft.refused);
      continue;
    }
    const covered = hosts.includes('*') ? [...new Set(placed.map((entry) => entry.host))] : hosts;
    for (const host of covered) {
      draft.add(
        host,
        placed.filter((entry) => hostCovers(entry.host, host)).map(({ route }) => route),
      );
    }
  }
}

function readIngress(ingress: KubeObject, context: CompileContext): Placed[] {
  const spec = specOf(ingress, context.conditions);
  spec.only(['ingressClassName', 'defaultBackend', 'tls', 'rules']);
  const found = spec
    .get('rules')
    .items()
    .flatMap((rule, i) => {
      rule.only(['host', 'http']);
      const text = rule.get('host').name();
      const host = text === undefined ? '*' : normalizeHost(text);
      if (host === undefined) rule.get('host').complain('is no host');
      if (host === undefined) return [];
      return rule
        .get('http')
        .get('paths')
        .items()
        .flatMap((item, p) => {
          const path = readPath(item);
          if (path === undefined) return [];
          return [placedRoute(ingress, { host, path, name: `${i}/${p}`, backend: item.get('backend') }, context)];
        });
    });
  const backend = spec.get('defaultBackend');
  if (backend.absent) return found;
  const path: PathMatch = { kind: 'segments', value: '/' };
  return [...found, placedRoute(ingress, { host: '*', path, name: 'default', backend }, context)];
}

function readPath(item: Field): PathMatch | undefined {
  item.only(['path', 'pathType', 'backend']);
  const value = item.get('path').name() ?? '/';
  const type = item.get('pathType').absent
    ? 'ImplementationSpecific'
    : item.get('pathType').oneOf(['Exact', 'Prefix', 'ImplementationSpecific']);
  if (type === undefined) return undefined;
  if (!value.startsWith('/')) {
    item.get('path').complain('must start with /');
    return undefined;
  }
  return { kind: type === 'Exact' ? 'exact' : 'segments', value };
}

function placedRoute(
  owner: KubeObject,
  { host, path, name, backend }: { host: string; path: PathMatch; name: string; backend: Field },
  context: CompileContext,
): Placed {
  const backends = [readBackend(backend, namespaceOf(owner), context)];
  const route: Route = {
    name: `${objectKey(owner.metadata)}/${name}`,
    matches: [{ path }],
    action: { kind: 'forward', backends },
  };
  return { host, path, route, owner };
}

function readBackend(field: Field, namespace: string, context: CompileContext): WeightedBackend {
  field.only(['service']);
  const invalid = { weight: 1, invalidStatus: 503 };
  const name = field.get('service').get('name').name();
  const service: Service | undefined =
    name === undefined ? undefined : context.catalog.services.get(serviceId(namespace, name));
  if (service === undefined) {
    field.complain(`Service ${namespace}/${name ?? ''} does not exist`);
    return invalid;
  }
  field.get('service').only(['name', 'port']);
  const wanted = field.get('service').get('port');
  wanted.only(['name', 'number']);
  const number = wanted.get('number').count(1, 65_535);
  const portName = wanted.get('name').name();
  const port = service.ports.find(
    (p) => p.protocol === 'TCP' && (number === undefined ? p.name === portName : p.port === number),
  );
  if (port === undefined) {
    wanted.complain(`Service ${service.id} has no such TCP port`);
    return invalid;
  }
  const tls = upstreamTls({ service, port }, context);
  return tls === 'refused' ? invalid : { weight: 1, cluster: clusterOf({ service, port, ...(tls && { tls }) }) };
}
