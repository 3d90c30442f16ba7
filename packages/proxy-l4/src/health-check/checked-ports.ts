import type { Endpoint } from '@edgemesh/core';

/** Where an endpoint is: its ports share it. */
export const placeOf = ({ nodeName, address }: Endpoint) => `${nodeName ?? ''}|${address}`;
/** Which port of the Service an endpoint serves. */
export const portKey = (endpoint: Endpoint) => `${endpoint.portName} ${endpoint.protocol}`;

/** TCP endpoints that the cluster calls ready, by port, of all ports or of one. */
export function byPort(endpoints: readonly Endpoint[], only: string | undefined): Map<string, Endpoint[]> {
  const ports = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    if (endpoint.protocol !== 'TCP' || !endpoint.ready || (only !== undefined && endpoint.portName !== only)) continue;
    const list = ports.get(portKey(endpoint));
    if (list === undefined) ports.set(portKey(endpoint), [endpoint]);
    else list.push(endpoint);
  }
  return ports;
}
