import type { PortDrafts, PortWish, Refusal } from '../common/port-drafts.ts';
import { objectName } from '../read/conditions.ts';
import type { GatewayState } from './gateway.ts';
import type { Listener } from './listener.ts';
import type { RouteWork } from './route-work.ts';
import { virtualHostsOf } from './virtual-hosts.ts';

/** Gives every valid listener its port, with the routes attached to it. Oldest Gateways first. */
export function placeListeners(gateways: readonly GatewayState[], work: RouteWork, drafts: PortDrafts): void {
  const all = gateways.flatMap(({ listeners }) => listeners);
  for (const gateway of gateways) {
    if (gateway.accepted.failed) continue;
    for (const listener of gateway.listeners) {
      if (listener.accepted.failed) continue;
      markConflict(listener, gateway);
      if (listener.conflicted.failed) continue;
      placeListener(listener, gateway, { all, work, drafts });
    }
  }
}

/** Of two listeners of one Gateway with the same port, protocol and hostname the first is served. */
function markConflict(listener: Listener, { listeners }: GatewayState): void {
  const earlier = listeners
    .slice(0, listeners.indexOf(listener))
    .filter((other) => other.port === listener.port && !other.accepted.failed);
  const twin = earlier.find((other) => sameTransport(other, listener) && other.hostname === listener.hostname);
  if (twin === undefined) return;
  const reason = twin.protocol === listener.protocol ? 'HostnameConflict' : 'ProtocolConflict';
  listener.field.complain(`has the port and hostname of listener ${twin.name}`);
  listener.conflicted.fail(reason, `listener ${twin.name} has the same port and hostname`);
}

function sameTransport(a: Listener, b: Listener): boolean {
  return (a.protocol === 'UDP') === (b.protocol === 'UDP');
}

interface Placement {
  readonly all: readonly Listener[];
  readonly work: RouteWork;
  readonly drafts: PortDrafts;
}

function placeListener(listener: Listener, gateway: GatewayState, placement: Placement): void {
  const wish: PortWish = {
    port: listener.port,
    owner: objectName(gateway.object),
    ...(gateway.addresses && { addresses: gateway.addresses }),
  };
  const refusal = placeByProtocol(listener, wish, placement);
  if (refusal !== undefined) {
    listener.field.complain(refusal.refused);
    listener.conflicted.fail('ProtocolConflict', refusal.refused);
    return;
  }
  const where = wish.addresses === undefined ? '' : ` on ${[...wish.addresses].sort().join(', ')}`;
  listener.portId = `${listener.protocol === 'UDP' ? 'UDP' : 'TCP'} ${listener.port}${where}`;
}

function placeByProtocol(listener: Listener, wish: PortWish, placement: Placement): Refusal | undefined {
  const { drafts, work } = placement;
  const { tls } = listener;
  if (listener.protocol === 'HTTP') {
    const draft = drafts.http(wish);
    if ('refused' in draft) return draft;
    for (const [host, routes] of hostsOf(listener, placement)) draft.add(host, routes);
    return undefined;
  }
  if (listener.protocol === 'TCP' || listener.protocol === 'UDP') {
    const kind = listener.protocol === 'TCP' ? 'tcp' : 'udp';
    const [route, ...rest] = work.l4.get(listener) ?? [];
    for (const other of rest) {
      work.context.conditions.add(
        objectName(other.owner),
        'spec.parentRefs',
        `an older route has listener ${listener.name} already`,
      );
    }
    return drafts.l4(wish, kind, route?.backends ?? []);
  }
  const name = `${objectName(listener.gateway)}/${listener.name}`;
  if (tls === 'none' || tls === 'refused') {
    const reason = 'the listener has no usable certificate';
    return settle(drafts.chain(wish, { name, hosts: [listener.hostname], handler: { kind: 'refused', reason } }));
  }
  if (tls === 'passthrough') return placePassthrough(listener, wish, name, placement);
  if (listener.protocol === 'HTTPS') {
    const draft = drafts.https(wish, { name, hosts: [listener.hostname], tls });
    if ('refused' in draft) return draft;
    for (const [host, routes] of hostsOf(listener, placement)) draft.add(host, routes);
    return settle(draft);
  }
  const [route] = work.l4.get(listener) ?? [];
  const handler = { kind: 'tcp' as const, tls, backends: route?.backends ?? [] };
  return settle(drafts.chain(wish, { name, hosts: route?.hosts ?? [listener.hostname], handler }));
}

function hostsOf(listener: Listener, { all, work }: Placement) {
  const others = all.filter(
    (other) => other.port === listener.port && other.protocol === listener.protocol && !other.accepted.failed,
  );
  return virtualHostsOf(listener, work.http.get(listener) ?? new Map(), others);
}

function placePassthrough(
  listener: Listener,
  wish: PortWish,
  name: string,
  { work, drafts }: Placement,
): Refusal | undefined {
  for (const route of work.l4.get(listener) ?? []) {
    const handler = { kind: 'passthrough' as const, backends: route.backends };
    const placed = drafts.chain(wish, { name, hosts: route.hosts, handler });
    if ('refused' in placed) return placed;
  }
  const rest = drafts.chain(wish, { name, hosts: [], handler: { kind: 'refused', reason: 'no route' } });
  return 'refused' in rest ? rest : undefined;
}

function settle(result: { readonly taken: readonly string[] } | Refusal): Refusal | undefined {
  if ('refused' in result) return result;
  if (result.taken.length === 0) return undefined;
  return { refused: `${result.taken.join(', ')} is served with other TLS settings for an older Gateway` };
}
