import { canonicalIp } from '@edgemesh/core';
import type { ZoneContext } from './types.ts';

/** Address that a pod label spells (`10-1-2-3`, `fd00--1`), if the pod mode lets the name exist. */
export function podAddress(context: ZoneContext, label: string, namespace: string): string | undefined {
  if (context.pods === 'disabled') return undefined;
  const address = undash(label);
  if (address === undefined) return undefined;
  if (context.pods === 'verified') return context.index.podNamespace(address) === namespace ? address : undefined;
  // A namespace without Services is known only where Namespace objects are read: without them it can not be denied.
  const namespacesKnown = (context.catalog.objects.get('Namespace')?.size ?? 0) > 0;
  return namespacesKnown && !context.index.hasNamespace(namespace) ? undefined : address;
}

/** Reads an address written with dashes. */
export function undash(label: string): string | undefined {
  if (!/^[0-9a-f-]+$/.test(label)) return undefined;
  return canonicalIp(label.replaceAll('-', '.')) ?? canonicalIp(label.replaceAll('-', ':'));
}
