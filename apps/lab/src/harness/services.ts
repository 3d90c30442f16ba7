import type { ServicePlan } from './manifests.ts';
import { POD_IP } from './mesh.ts';

/** The Services of the first scenarios: HTTP with WebSocket on one port, TCP echo, UDP echo, all backed on these nodes. */
export function labServices(nodes: readonly string[]): ServicePlan[] {
  const endpoints = nodes.map((node) => ({ address: POD_IP, node }));
  return [
    { name: 'hello', clusterIP: '10.96.0.10', ports: [{ name: 'http', port: 80, targetPort: 8080 }], endpoints },
    { name: 'echo', clusterIP: '10.96.0.11', ports: [{ name: 'tcp', port: 7, targetPort: 7000 }], endpoints },
    {
      name: 'udp-echo',
      clusterIP: '10.96.0.12',
      ports: [{ name: 'udp', port: 7, targetPort: 7001, protocol: 'UDP' }],
      endpoints,
    },
    { name: 'secure', clusterIP: '10.96.0.13', ports: [{ name: 'https', port: 443, targetPort: 8443 }], endpoints },
  ];
}

export const HELLO = '10.96.0.10';
export const ECHO = '10.96.0.11';
export const UDP_ECHO = '10.96.0.12';
export const SECURE = '10.96.0.13';
