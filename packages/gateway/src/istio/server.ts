import { canonicalIp, type KubeObject, objectKey } from '@edgemesh/core';
import type { CompileContext } from '../common/context.ts';
import { normalizeHost } from '../common/hosts.ts';
import { namespaceOf, objectName, specOf } from '../read/conditions.ts';
import type { Field } from '../read/field.ts';
import { readServerTls, type ServerTls } from './server-tls.ts';

/** One server of an Istio Gateway, understood. */
export interface Server {
  /** `namespace/name` of its Gateway. */
  readonly gateway: string;
  /** For logs: `namespace/name/0`. */
  readonly name: string;
  /** For conditions: `Gateway namespace/name`. */
  readonly owner: string;
  readonly namespace: string;
  readonly field: Field;
  readonly port: number;
  readonly protocol: 'HTTP' | 'HTTPS' | 'TLS' | 'TCP';
  readonly bind?: string;
  readonly hosts: readonly ServerHost[];
  readonly tls: ServerTls;
}

/** A host that a server takes, from VirtualServices of one namespace or of all. */
export interface ServerHost {
  readonly host: string;
  /** Absent: any. */
  readonly namespace?: string;
}

/** Whether a Gateway is meant for this gateway. An empty selector is for all. */
export function isSelected(
  gateway: KubeObject,
  labels: Readonly<Record<string, string>>,
  context: CompileContext,
): boolean {
  return specOf(gateway, context.conditions)
    .get('selector')
    .entries()
    .every(([name, value]) => Object.hasOwn(labels, name) && labels[name] === value.value);
}

/** The servers of a Gateway that can be understood; the others are reported. */
export function readServers(gateway: KubeObject, context: CompileContext): Server[] {
  const spec = specOf(gateway, context.conditions);
  spec.only(['selector', 'servers']);
  return spec
    .get('servers')
    .items()
    .flatMap((field, i) => readServer(field, i, gateway, context) ?? []);
}

const PROTOCOLS: Readonly<Record<string, Server['protocol']>> = {
  HTTP: 'HTTP',
  HTTP2: 'HTTP',
  GRPC: 'HTTP',
  'GRPC-WEB': 'HTTP',
  HTTPS: 'HTTPS',
  TLS: 'TLS',
  TCP: 'TCP',
  MONGO: 'TCP',
};

function readServer(field: Field, index: number, gateway: KubeObject, context: CompileContext): Server | undefined {
  if (!field.isObject()) return undefined;
  field.only(['port', 'hosts', 'tls', 'bind', 'name']);
  const portField = field.get('port');
  portField.only(['number', 'name', 'protocol', 'targetPort']);
  const port = portField.get('number').count(1, 65_535);
  if (port === undefined) {
    if (portField.get('number').absent) portField.complain('number is required: server left out');
    return undefined;
  }
  const written = portField.get('protocol').name();
  const protocol = written === undefined ? undefined : PROTOCOLS[written.toUpperCase()];
  if (protocol === undefined) {
    portField.get('protocol').complain(`must be one of ${Object.keys(PROTOCOLS).join(', ')}: server left out`);
    return undefined;
  }
  const hosts = readHosts(field.get('hosts'), namespaceOf(gateway));
  const bind = readBind(field.get('bind'));
  if (hosts.length === 0 || bind === 'unusable') {
    if (hosts.length === 0) field.get('hosts').complain('names no host: server left out');
    return undefined;
  }
  return {
    gateway: objectKey({ name: gateway.metadata.name, namespace: namespaceOf(gateway) }),
    name: `${objectKey(gateway.metadata)}/${portField.get('name').name() ?? index}`,
    owner: objectName(gateway),
    namespace: namespaceOf(gateway),
    field,
    port,
    protocol,
    hosts,
    ...(bind !== undefined && { bind }),
    tls: readServerTls(field.get('tls'), protocol, gateway, context),
  };
}

function readBind(field: Field): string | 'unusable' | undefined {
  const text = field.name();
  if (text === undefined || text === '0.0.0.0' || text === '::') return undefined;
  const address = canonicalIp(text);
  if (address !== undefined) return address;
  field.complain('must be an address of this node: server left out');
  return 'unusable';
}

/** `host`, `namespace/host`, `./host`, `*\/host`. */
function readHosts(field: Field, own: string): ServerHost[] {
  return field.items().flatMap((item) => {
    const text = item.name();
    if (text === undefined) return [];
    const slash = text.indexOf('/');
    const namespace = slash < 0 ? '*' : text.slice(0, slash);
    const host = normalizeHost(text.slice(slash + 1));
    if (host === undefined || namespace === '' || namespace === '~') {
      item.complain(`${text.slice(0, 80)} is no host`);
      return [];
    }
    return [{ host, ...(namespace !== '*' && { namespace: namespace === '.' ? own : namespace }) }];
  });
}
