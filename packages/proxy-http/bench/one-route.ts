import type { Endpoint } from '@edgemesh/core';
import type { RouteTable } from '../src/index.ts';

/** The backend of the benches. */
export function benchEndpoint(port: number): Endpoint {
  return endpoints.get(port) ?? remember(port);
}

const endpoints = new Map<number, Endpoint>();

/** One object per port: pools know endpoints by identity. */
function remember(port: number): Endpoint {
  const endpoint: Endpoint = {
    address: '127.0.0.1',
    port,
    protocol: 'TCP',
    portName: '',
    ready: true,
    serving: true,
    terminating: false,
  };
  endpoints.set(port, endpoint);
  return endpoint;
}

const cluster = { key: 'backend', service: 'default/backend', port: 80, protocol: 'http1' } as const;

/** Everything goes to one backend. */
export const benchRoutes: RouteTable = {
  virtualHosts: [
    {
      name: 'bench',
      hosts: ['*'],
      routes: [
        {
          name: 'all',
          matches: [{ path: { kind: 'segments', value: '/' } }],
          action: { kind: 'forward', backends: [{ weight: 1, cluster }] },
        },
      ],
    },
  ],
};
