import type { Service, ServicePort } from '@edgemesh/core';
import { makeService as makeAnyService } from '@edgemesh/testkit';

/** A ClusterIP Service in namespace `shop`. */
export function makeService(name: string, ports: readonly ServicePort[], overrides: Partial<Service> = {}): Service {
  return makeAnyService(`shop/${name}`, { ports, ...overrides });
}
