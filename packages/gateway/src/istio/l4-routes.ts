import type { CompileContext } from '../common/context.ts';
import { intersectHosts, normalizeHost } from '../common/hosts.ts';
import type { L4Backend } from '../model.ts';
import { specOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import { readL4Target } from './destination.ts';
import type { Server } from './server.ts';
import { type Binding, gatewayKey } from './virtual-service.ts';

const CANNOT = 'is not supported; this match matches nothing';

/** The backends of the first TCP route of a VirtualService that a server's connections match. */
export function readTcpBackends(
  binding: Binding,
  server: Server,
  context: CompileContext,
): readonly L4Backend[] | undefined {
  for (const route of specOf(binding.virtualService, context.conditions).get('tcp').items()) {
    route.only(['match', 'route']);
    const matches = route.get('match').items();
    const holds =
      matches.length === 0 || matches.map((match) => matchesPort(match, binding, server, [])).includes(true);
    if (holds) return readBackends(route.get('route'), binding.namespace, context);
  }
  return undefined;
}

/** TLS routes by server name, for a server that does not terminate. */
export function readTlsRoutes(
  binding: Binding,
  server: Server,
  hosts: readonly string[],
  context: CompileContext,
): { readonly hosts: readonly string[]; readonly backends: readonly L4Backend[] }[] {
  return specOf(binding.virtualService, context.conditions)
    .get('tls')
    .items()
    .flatMap((route) => {
      route.only(['match', 'route']);
      const names = route
        .get('match')
        .items()
        .flatMap((match) =>
          matchesPort(match, binding, server, ['sniHosts']) ? sniHosts(match.get('sniHosts'), hosts) : [],
        );
      if (names.length === 0) return [];
      return [{ hosts: [...new Set(names)], backends: readBackends(route.get('route'), binding.namespace, context) }];
    });
}

function sniHosts(field: Field, offered: readonly string[]): string[] {
  const items = field.items();
  if (items.length === 0) field.complain('is required');
  return items.flatMap((item) => {
    const text = item.name();
    const host = text === undefined ? undefined : normalizeHost(text);
    if (host === undefined) {
      item.complain('is no host');
      return [];
    }
    const both = offered.flatMap((other) => intersectHosts(host, other) ?? []);
    if (both.length === 0) item.complain('belongs to no host of this VirtualService and its Gateway');
    return both;
  });
}

function matchesPort(match: Field, binding: Binding, server: Server, more: readonly string[]): boolean {
  if (!match.isObject() || !match.only(['port', 'gateways', ...more], CANNOT)) return false;
  const gateways = match.get('gateways').texts();
  const bound = !match.get('gateways').absent && match.get('gateways').items().length !== 0;
  if (bound && !gateways.some((name) => gatewayKey(name, binding.namespace) === server.gateway)) return false;
  if (match.get('port').absent) return true;
  return match.get('port').count(1, 65_535) === server.port;
}

function readBackends(field: Field, namespace: string, context: CompileContext): L4Backend[] {
  const items = field.items();
  const unweighted = items.every((item) => item.get('weight').absent);
  return items.map((item) => {
    item.only(['destination', 'weight']);
    const target = readL4Target(item.get('destination'), namespace, context);
    return { weight: unweighted ? 1 : (item.get('weight').count(0, 1_000_000) ?? 0), ...(target && { target }) };
  });
}
