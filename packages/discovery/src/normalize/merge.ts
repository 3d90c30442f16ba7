import type { Endpoint } from '@edgemesh/core';
import type { Backends } from './backends.ts';
import { compareText } from './text.ts';

/**
 * Merges what several slices say about one Service. While the slice controller moves an endpoint it may stand in two
 * slices at once: the healthier entry wins, then the one of the slice whose name sorts first. The order of the result
 * depends on nothing but its content.
 */
export function mergeEndpoints(backends: Iterable<Backends>): readonly Endpoint[] {
  const bySource = [...backends].sort((a, b) => compareText(a.source, b.source));
  // the order names an endpoint completely (two Service ports may share one target port), so doubles become neighbours
  const all = bySource.flatMap(({ endpoints }) => endpoints);
  all.sort((a, b) => compareEndpoints(a, b) || health(b) - health(a));
  return all.filter((endpoint, i) => i === 0 || compareEndpoints(all[i - 1] as Endpoint, endpoint) !== 0);
}

function health(endpoint: Endpoint): number {
  return (endpoint.ready ? 4 : 0) + (endpoint.serving ? 2 : 0) + (endpoint.terminating ? 0 : 1);
}

/** The canonical order of endpoints: address, port, protocol, port name, node. By code units, not by locale. */
export function compareEndpoints(a: Endpoint, b: Endpoint): number {
  return (
    compareText(a.address, b.address) ||
    a.port - b.port ||
    compareText(a.protocol, b.protocol) ||
    compareText(a.portName, b.portName) ||
    compareText(a.nodeName ?? '', b.nodeName ?? '')
  );
}
