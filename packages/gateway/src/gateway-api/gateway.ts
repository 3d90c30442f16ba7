import { canonicalIp, type KubeObject } from '@edgemesh/core';
import type { CompileContext } from '../common/context.ts';
import type { ObjectStatus } from '../model.ts';
import { specOf } from '../read/conditions.ts';
import { type Listener, listenerStatus, readListener } from './listener.ts';
import { statusOf, Verdict } from './status.ts';

/** A Gateway of one of our classes. */
export interface GatewayState {
  readonly object: KubeObject;
  readonly listeners: readonly Listener[];
  readonly accepted: Verdict;
  /** Only these addresses of the node. */
  readonly addresses?: readonly string[];
}

/** Reads a Gateway. */
export function readGateway(object: KubeObject, context: CompileContext): GatewayState {
  const spec = specOf(object, context.conditions);
  // Settings of `tls` guard the door; `infrastructure` is about machines that a controller makes, we make none, but parameters that
  // somebody relies on must not be lost in silence.
  spec.only(['gatewayClassName', 'listeners', 'addresses', 'infrastructure']);
  const accepted = new Verdict();
  if (!spec.get('tls').absent) accepted.fail('Invalid', 'spec.tls is not supported');
  if (!spec.get('infrastructure').get('parametersRef').absent)
    accepted.fail('InvalidParameters', 'spec.infrastructure.parametersRef: there are no parameters here');
  const addresses = spec
    .get('addresses')
    .items()
    .flatMap((item) => {
      item.only(['type', 'value']);
      const type = item.get('type').name() ?? 'IPAddress';
      const value = item.get('value').name();
      const address = type === 'IPAddress' && value !== undefined ? canonicalIp(value) : undefined;
      if (address === undefined && value !== undefined) {
        item.complain('is no address of this node');
        accepted.fail('UnsupportedAddress', `address ${value.slice(0, 80)} is not supported`);
      }
      return address ?? [];
    });
  const listeners = spec
    .get('listeners')
    .items()
    .flatMap((item) => readListener(item, object, context) ?? []);
  return { object, listeners, accepted, ...(addresses.length > 0 && { addresses }) };
}

/** Its status, without addresses and `Programmed`. */
export function gatewayStatus({ object, listeners, accepted }: GatewayState): ObjectStatus {
  const invalid = listeners.filter((l) => l.accepted.failed || l.resolved.failed || l.conflicted.failed);
  // One good listener is enough; the others tell of themselves.
  if (listeners.length === 0 || invalid.length === listeners.length)
    accepted.fail('ListenersNotValid', 'no listener is valid');
  const isPartly = invalid.length > 0 && invalid.length < listeners.length;
  const ports = listeners.flatMap((l) => (l.portId === undefined ? [] : [[l.name, l.portId] as const]));
  return {
    ...statusOf(object, {
      conditions: [accepted.as(object, 'Accepted', isPartly ? 'ListenersNotValid' : 'Accepted')],
      listeners: listeners.map(listenerStatus),
    }),
    listenerPorts: Object.fromEntries(ports),
  };
}
