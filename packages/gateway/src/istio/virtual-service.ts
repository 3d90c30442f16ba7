import type { KubeObject } from '@edgemesh/core';
import type { CompileContext } from '../common/context.ts';
import { intersectHosts, normalizeHost } from '../common/hosts.ts';
import { namespaceOf, specOf } from '../read/conditions.ts';
import type { Server } from './server.ts';

const KNOWN = ['hosts', 'gateways', 'http', 'tls', 'tcp', 'exportTo'];

/** How a VirtualService is bound. */
export interface Binding {
  readonly virtualService: KubeObject;
  readonly namespace: string;
  readonly hosts: readonly string[];
  /** `namespace/name` of Gateways. */
  readonly gateways: ReadonlySet<string>;
}

/** Reads to which Gateways a VirtualService is bound. None at all: it is for sidecars, and no business of ours. */
export function readBinding(virtualService: KubeObject, context: CompileContext): Binding | undefined {
  const spec = specOf(virtualService, context.conditions);
  const namespace = namespaceOf(virtualService);
  const gateways = new Set(
    spec
      .get('gateways')
      .texts()
      .filter((name) => name !== 'mesh')
      .map((name) => gatewayKey(name, namespace)),
  );
  if (gateways.size === 0) return undefined;
  spec.only(KNOWN);
  const hosts = spec
    .get('hosts')
    .items()
    .flatMap((item) => {
      const text = item.name();
      const host = text === undefined ? undefined : normalizeHost(text);
      if (host === undefined && text !== undefined) item.complain('is no host');
      return host ?? [];
    });
  return { virtualService, namespace, hosts, gateways };
}

/** `gateway`, `namespace/gateway`, `./gateway`, and the older `gateway.namespace.svc.cluster.local`. */
export function gatewayKey(written: string, namespace: string): string {
  const slash = written.indexOf('/');
  if (slash >= 0) {
    const ns = written.slice(0, slash);
    return `${ns === '.' || ns === '' ? namespace : ns}/${written.slice(slash + 1)}`;
  }
  const [name, ns, svc] = written.split('.') as [string, string?, string?];
  return svc === 'svc' && ns !== undefined ? `${ns}/${name}` : `${namespace}/${written}`;
}

/** The hosts of a server that a VirtualService gets: what both name, where the namespaces agree. */
export function boundHosts(binding: Binding, server: Server, context: CompileContext): string[] {
  if (!binding.gateways.has(server.gateway) || !isExported(binding, server.namespace, context)) return [];
  const hosts = new Set<string>();
  for (const host of binding.hosts) {
    for (const offered of server.hosts) {
      if (offered.namespace !== undefined && offered.namespace !== binding.namespace) continue;
      const both = intersectHosts(host, offered.host);
      if (both !== undefined) hosts.add(both);
    }
  }
  return [...hosts];
}

function isExported(binding: Binding, namespace: string, context: CompileContext): boolean {
  const exportTo = specOf(binding.virtualService, context.conditions).get('exportTo').texts();
  if (exportTo.length === 0) return true;
  return exportTo.some((to) => to === '*' || to === namespace || (to === '.' && namespace === binding.namespace));
}
