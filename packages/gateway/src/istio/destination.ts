import type { Service, ServicePort } from '@edgemesh/core';
import type { ClusterRef } from '@edgemesh/proxy-http';
import { clusterOf, l4TargetOf } from '../common/cluster.ts';
import type { CompileContext } from '../common/context.ts';
import { subsetProblem, upstreamTls } from '../common/destination-rule.ts';
import { serviceOfHost } from '../common/service-host.ts';
import type { L4Target } from '../model.ts';
import type { Field } from '../read/field.ts';

interface Destination {
  readonly service: Service;
  readonly port: ServicePort;
  readonly subset?: string;
}

/** A Destination as a cluster; undefined, and reported, where it cannot be resolved. */
export function readCluster(field: Field, namespace: string, context: CompileContext): ClusterRef | undefined {
  const found = readDestination(field, namespace, context);
  if (found === undefined) return undefined;
  const tls = upstreamTls(found, context);
  if (tls === 'refused') return undefined;
  return clusterOf({ ...found, ...(tls && { tls }) });
}

/** The same for connections. */
export function readL4Target(field: Field, namespace: string, context: CompileContext): L4Target | undefined {
  const found = readDestination(field, namespace, context);
  return found && l4TargetOf(found.service, found.port, found.subset);
}

function readDestination(field: Field, namespace: string, context: CompileContext): Destination | undefined {
  if (!field.isObject()) {
    if (field.absent) field.complain('is required');
    return undefined;
  }
  field.only(['host', 'subset', 'port']);
  const host = field.get('host').name();
  if (host === undefined) {
    field.get('host').complain('is required');
    return undefined;
  }
  const service = serviceOfHost(host, namespace, context);
  if (typeof service === 'string') {
    field.get('host').complain(service);
    return undefined;
  }
  const port = readPort(field.get('port'), service);
  if (port === undefined) return undefined;
  const subset = field.get('subset').name();
  const problem = subset && subsetProblem(service, subset, context);
  if (problem) {
    field.get('subset').complain(problem);
    return undefined;
  }
  return { service, port, ...(subset !== undefined && { subset }) };
}

function readPort(field: Field, service: Service): ServicePort | undefined {
  const ports = service.ports.filter(({ protocol }) => protocol === 'TCP');
  field.only(['number']);
  const number = field.get('number').count(1, 65_535);
  if (number === undefined) {
    if (ports.length === 1) return ports[0];
    field.get('number').complain(`is required: Service ${service.id} has ${ports.length} TCP ports`);
    return undefined;
  }
  const found = ports.find(({ port }) => port === number);
  if (found === undefined) field.get('number').complain(`Service ${service.id} has no TCP port ${number}`);
  return found;
}
