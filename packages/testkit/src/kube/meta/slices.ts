import { isRecord } from '../api/object.ts';
import type { OdditySwitches } from './oddities.ts';

/** What lists make of a slice: one endpoint, 127.0.0.1, and 10550 as port `https`. */
export function rewriteSlice(slice: Record<string, unknown>): Record<string, unknown> {
  const ports = Array.isArray(slice.ports) ? slice.ports : [];
  const given = Array.isArray(slice.endpoints) ? slice.endpoints[0] : undefined;
  const endpoint = { ...(isRecord(given) ? given : {}), addresses: ['127.0.0.1'] };
  return {
    ...slice,
    endpoints: [endpoint],
    ports: ports.map((port: unknown) => (isRecord(port) && port.name === 'https' ? { ...port, port: 10550 } : port)),
  };
}

/** Outside lists only the slice of the API server itself is rewritten. */
export function rewriteKubernetesSlice(object: unknown, odd: OdditySwitches): unknown {
  if (!odd.endpointSliceRewrite || !isRecord(object) || object.kind !== 'EndpointSlice') return object;
  const { metadata } = object;
  const own = isRecord(metadata) && metadata.name === 'kubernetes' && metadata.namespace === 'default';
  return own ? rewriteSlice(object) : object;
}
