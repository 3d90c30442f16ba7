import type { NodeInfo, Service } from '@edgemesh/core';
import { makeService } from '@edgemesh/testkit';

/** A Service `default/<name>` with one TCP port 80. */
export function testService(name: string, overrides: Partial<Service> = {}): Service {
  return makeService(`default/${name}`, overrides);
}

/** A node. */
export function testNode(name: string, internalIP: string, podCIDR?: string): NodeInfo {
  return { name, labels: {}, internalIPs: [internalIP], podCIDRs: podCIDR === undefined ? [] : [podCIDR] };
}
