import type { KubeObject } from '@edgemesh/core';
import type { Route } from '@edgemesh/proxy-http';
import type { CompileContext } from '../common/context.ts';
import type { PortDrafts, PortWish, Refusal } from '../common/port-drafts.ts';
import { byAge, objectName } from '../read/conditions.ts';
import { isCatchAll } from './http-match.ts';
import { readHttpRoutes } from './http-routes.ts';
import { readTcpBackends, readTlsRoutes } from './l4-routes.ts';
import { isSelected, readServers, type Server } from './server.ts';
import { type Binding, boundHosts, gatewayKey, readBinding } from './virtual-service.ts';

const DEFAULT_LABELS = { kubeedge: 'edgemesh-gateway', app: 'edgemesh-gateway' };

/** Istio Gateways that select this gateway, with the VirtualServices bound to them. The older object wins. */
export function compileIstio(context: CompileContext, drafts: PortDrafts): void {
  const gateways = objectsOf(context, 'Gateway.networking.istio.io');
  const labels = context.options.labels ?? DEFAULT_LABELS;
  const servers = gateways
    .filter((gateway) => isSelected(gateway, labels, context))
    .flatMap((g) => readServers(g, context));
  if (servers.length === 0) return;
  const ours = new Set(servers.map(({ gateway }) => gateway));
  const bindings = objectsOf(context, 'VirtualService.networking.istio.io')
    .flatMap((virtualService) => readBinding(virtualService, context) ?? [])
    .filter((binding) => [...binding.gateways].some((key) => ours.has(key)));
  const used = new Set<Binding>();
  for (const server of servers) addServer(server, bindings, { context, drafts, used });
  for (const binding of bindings) {
    if (!used.has(binding)) {
      context.conditions.add(
        objectName(binding.virtualService),
        'spec.hosts',
        'no server of its Gateways has any of these hosts',
      );
    }
  }
}

function objectsOf(context: CompileContext, kind: string): KubeObject[] {
  return [...(context.catalog.objects.get(kind)?.values() ?? [])].sort(byAge);
}

interface Work {
  readonly context: CompileContext;
  readonly drafts: PortDrafts;
  readonly used: Set<Binding>;
}

function addServer(server: Server, bindings: readonly Binding[], work: Work): void {
  const { port, owner, bind, field } = server;
  const wish: PortWish = { port, owner, ...(bind !== undefined && { addresses: [bind] }) };
  const bound = bindings.flatMap((binding) => {
    const hosts = boundHosts(binding, server, work.context);
    if (hosts.length > 0) work.used.add(binding);
    return hosts.length > 0 ? [{ binding, hosts }] : [];
  });
  const refusal = addByProtocol(server, wish, bound, work);
  if (refusal !== undefined) field.complain(refusal.refused);
}

type Bound = readonly { readonly binding: Binding; readonly hosts: readonly string[] }[];

function addByProtocol(server: Server, wish: PortWish, bound: Bound, work: Work): Refusal | undefined {
  const { tls, protocol } = server;
  if (protocol === 'TCP') return addTcp(server, wish, bound, work);
  if (tls.kind === 'none' || tls.kind === 'redirect') return addHttp(server, wish, bound, work);
  const names = [...new Set(server.hosts.map(({ host }) => host))];
  if (tls.kind === 'refused') {
    return report(
      server,
      work.drafts.chain(wish, { name: server.name, hosts: names, handler: { kind: 'refused', reason: tls.reason } }),
    );
  }
  if (tls.kind === 'passthrough') return addPassthrough(server, wish, bound, work);
  if (protocol === 'HTTPS') {
    const draft = work.drafts.https(wish, { name: server.name, hosts: names, tls: tls.termination });
    if ('refused' in draft) return draft;
    addVirtualHosts(server, bound, draft, work.context);
    return report(server, draft);
  }
  const backends = bound.flatMap(({ binding }) => readTcpBackends(binding, server, work.context) ?? []);
  const handler = { kind: 'tcp' as const, tls: tls.termination, backends };
  return report(server, work.drafts.chain(wish, { name: server.name, hosts: names, handler }));
}

function report(server: Server, result: { readonly taken: readonly string[] } | Refusal): Refusal | undefined {
  if ('refused' in result) return result;
  for (const host of result.taken) {
    server.field
      .get('hosts')
      .complain(`${host} has other TLS settings on port ${server.port} in an older Gateway, which hold`);
  }
  return undefined;
}

function addHttp(server: Server, wish: PortWish, bound: Bound, { drafts, context }: Work): Refusal | undefined {
  const draft = drafts.http(wish);
  if ('refused' in draft) return draft;
  if (server.tls.kind === 'redirect') {
    const route: Route = {
      name: `${server.name}/httpsRedirect`,
      matches: [],
      action: { kind: 'redirect', status: 301, scheme: 'https', port: 'scheme' },
    };
    for (const { host } of server.hosts) draft.add(host, [route]);
    return undefined;
  }
  addVirtualHosts(server, bound, draft, context);
  return undefined;
}

function addVirtualHosts(
  server: Server,
  bound: Bound,
  draft: { add(host: string, routes: readonly Route[], last?: (route: Route) => boolean): void },
  context: CompileContext,
): void {
  for (const { binding, hosts } of bound) {
    const isOurs = (name: string) => gatewayKey(name, binding.namespace) === server.gateway;
    const routes = readHttpRoutes(binding.virtualService, isOurs, context);
    for (const host of hosts) draft.add(host, routes, (route) => route.matches.every(isCatchAll));
  }
}

function addTcp(server: Server, wish: PortWish, bound: Bound, { drafts, context }: Work): Refusal | undefined {
  const opened = drafts.l4(wish, 'tcp', []);
  if (opened !== undefined) return opened;
  for (const { binding } of bound) {
    const backends = readTcpBackends(binding, server, context);
    if (backends === undefined) continue;
    const refusal = drafts.l4(wish, 'tcp', backends);
    if (refusal !== undefined) context.conditions.add(objectName(binding.virtualService), 'spec.tcp', refusal.refused);
  }
  return undefined;
}

function addPassthrough(server: Server, wish: PortWish, bound: Bound, { drafts, context }: Work): Refusal | undefined {
  let refusal: Refusal | undefined;
  for (const { binding, hosts } of bound) {
    for (const route of readTlsRoutes(binding, server, hosts, context)) {
      const handler = { kind: 'passthrough' as const, backends: route.backends };
      refusal ??= report(server, drafts.chain(wish, { name: server.name, hosts: route.hosts, handler }));
    }
  }
  // The port is held, and clients of other names are refused by name, also before there are routes.
  const reason = 'no TLS route for this server name';
  const names = server.hosts.map(({ host }) => host).filter((host) => !bound.some(({ hosts }) => hosts.includes(host)));
  const rest = drafts.chain(wish, { name: server.name, hosts: names, handler: { kind: 'refused', reason } });
  return refusal ?? ('refused' in rest ? rest : undefined);
}
