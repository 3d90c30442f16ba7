import type { KubeObject } from '@edgemesh/core';
import type { CompileContext } from '../common/context.ts';
import type { PortDrafts } from '../common/port-drafts.ts';
import type { ObjectStatus } from '../model.ts';
import { byAge, namespaceOf, specOf } from '../read/conditions.ts';
import { type Attachment, attach } from './attach.ts';
import { type BackendWork, readL4Backends } from './backend.ts';
import { gatewayStatus, readGateway } from './gateway.ts';
import { readRules } from './http-rules.ts';
import { GATEWAY_GROUP, type Listener, type RouteKind } from './listener.ts';
import { placeListeners } from './place-listeners.ts';
import { createPolicyUses } from './policy-uses.ts';
import type { RankedRoute } from './precedence.ts';
import type { RouteWork } from './route-work.ts';
import { condition, ownsEntry, statusOf, Verdict } from './status.ts';

/** Controller of GatewayClasses, where the options name no other. */
export const CONTROLLER_NAME = 'edgemesh.kubeedge.io/gateway';
const ROUTE_KINDS: readonly RouteKind[] = ['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'UDPRoute'];

/** Gateways of our classes with the routes attached to them. Answers the statuses of everything that is ours. */
export function compileGatewayApi(context: CompileContext, drafts: PortDrafts): ObjectStatus[] {
  const controller = context.options.controllerName ?? CONTROLLER_NAME;
  const isOurs = (object: KubeObject) => specOf(object, context.conditions).get('controllerName').value === controller;
  const classes = objectsOf(context, 'GatewayClass').filter(isOurs);
  if (classes.length === 0) return [];
  const classNames = new Set(classes.map(({ metadata }) => metadata.name));
  const gateways = objectsOf(context, 'Gateway')
    .filter((gateway) => classNames.has(specOf(gateway, context.conditions).get('gatewayClassName').text() ?? ''))
    .map((gateway) => readGateway(gateway, context));
  const listeners = gateways.flatMap((gateway) => gateway.listeners);
  const policies = createPolicyUses();
  const work: RouteWork = { context, controller, policies, http: new Map(), l4: new Map() };
  const routes = ROUTE_KINDS.flatMap((kind) =>
    objectsOf(context, kind).flatMap((route) => readRoute(route, kind, listeners, work)),
  );
  placeListeners(gateways, work, drafts);
  return [
    ...classes.map((object) => statusOf(object, { conditions: [condition(object, 'Accepted', true, 'Accepted')] })),
    ...gateways.map((gateway) => gatewayStatus(gateway)),
    ...routes,
    ...policies.statuses(objectsOf(context, 'BackendTLSPolicy'), controller),
  ];
}

function objectsOf(context: CompileContext, kind: string): KubeObject[] {
  return [...(context.catalog.objects.get(`${kind}.${GATEWAY_GROUP}`)?.values() ?? [])].sort(byAge);
}

function readRoute(
  route: KubeObject,
  kind: RouteKind,
  listeners: readonly Listener[],
  work: RouteWork,
): ObjectStatus[] {
  const spec = specOf(route, work.context.conditions);
  const attachments = attach(route, kind, spec, listeners, work.context);
  if (attachments.length === 0)
    return ownsEntry(route, 'parents', work.controller) ? [statusOf(route, { parents: [] })] : [];
  spec.only(['parentRefs', 'hostnames', 'rules', 'useDefaultGateways']);
  const resolved = new Verdict();
  const { context, policies } = work;
  const gateways = new Set(attachments.flatMap(({ places }) => places.map(({ listener }) => listener.gateway)));
  const backendWork: BackendWork = { context, policies, gateways, namespace: namespaceOf(route), kind, resolved };
  const unsupported = (reason: string) => {
    for (const { accepted } of attachments) accepted.fail('UnsupportedValue', reason);
  };
  if (kind === 'HTTPRoute' || kind === 'GRPCRoute')
    addHttp(readRules(route, spec, backendWork, unsupported), attachments, work);
  else addL4(route, spec.get('rules').items()[0], attachments, backendWork, work);
  const parents = attachments.map(({ ref, accepted }) => ({
    parentRef: ref.value,
    controllerName: work.controller,
    conditions: [accepted.as(route, 'Accepted'), resolved.as(route, 'ResolvedRefs')],
  }));
  return [statusOf(route, { parents })];
}

function addHttp(rules: readonly RankedRoute[], attachments: readonly Attachment[], { http }: RouteWork): void {
  for (const { places } of attachments) {
    for (const { listener, hosts } of places) {
      const byHost = http.get(listener) ?? new Map<string, RankedRoute[]>();
      http.set(listener, byHost);
      for (const host of hosts) {
        const list = byHost.get(host) ?? [];
        // Two parentRefs may lead to one listener.
        for (const rule of rules) if (!list.includes(rule)) list.push(rule);
        byHost.set(host, list);
      }
    }
  }
}

function addL4(
  owner: KubeObject,
  rule: ReturnType<ReturnType<typeof specOf>['items']>[number] | undefined,
  attachments: readonly Attachment[],
  backendWork: BackendWork,
  { l4 }: RouteWork,
): void {
  if (rule === undefined) return;
  rule.only(['name', 'backendRefs']);
  const backends = readL4Backends(rule, backendWork);
  for (const { places } of attachments) {
    for (const { listener, hosts } of places) {
      const list = l4.get(listener) ?? [];
      l4.set(listener, list);
      if (!list.some((other) => other.owner === owner)) list.push({ owner, hosts, backends });
    }
  }
}
