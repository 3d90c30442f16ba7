import type { ServicePort } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HEALTH_CHECK_ANNOTATIONS, type HealthCheckDefaults, healthCheckOf } from './health-check.ts';

const defaults: HealthCheckDefaults = {
  kind: 'none',
  path: '/',
  intervalMs: 10_000,
  timeoutMs: 3_000,
  healthyThreshold: 2,
  unhealthyThreshold: 3,
  maxEjectionPercent: 100,
};
const names = HEALTH_CHECK_ANNOTATIONS;
const ports: ServicePort[] = [
  { name: 'http', protocol: 'TCP', port: 80 },
  { name: 'dns', protocol: 'UDP', port: 53 },
];
const read = (annotations: Record<string, string>, more: Partial<HealthCheckDefaults> = {}) =>
  healthCheckOf({ annotations, ports, publishNotReadyAddresses: false }, { ...defaults, ...more });

describe('health check of a Service', () => {
  it('is off unless the Service or the configuration asks for it', () => {
    expect(read({})).toEqual({ problems: [] });
    expect(read({}, { kind: 'tcp' }).check?.kind).toBe('tcp');
    expect(read({ [names.kind]: 'none' }, { kind: 'tcp' })).toEqual({ problems: [] });
    expect(read({ [names.kind]: 'HTTP' }).check?.kind).toBe('http');
  });

  it('takes each value of its annotations over', () => {
    const { check, problems } = read({
      [names.kind]: 'http',
      [names.path]: '/healthz?full',
      [names.interval]: '5',
      [names.timeout]: '500ms',
      [names.healthy]: '1',
      [names.unhealthy]: '4',
      [names.maxEjection]: '50',
    });
    expect(problems).toEqual([]);
    expect(check).toEqual({
      kind: 'http',
      path: '/healthz?full',
      intervalMs: 5_000,
      timeoutMs: 500,
      healthyThreshold: 1,
      unhealthyThreshold: 4,
      maxEjectionPercent: 50,
    });
  });

  it('keeps the default of a value that means nothing, and names it', () => {
    const { check, problems } = read({ [names.kind]: 'tcp', [names.interval]: 'soon', [names.path]: 'x\r\nHost: y' });
    expect(check).toMatchObject({ kind: 'tcp', intervalMs: 10_000, path: '/' });
    expect(problems).toHaveLength(2);
    expect(read({ [names.kind]: 'grpc' })).toEqual({ problems: [expect.stringContaining('tcp, http or none')] });
  });

  it('finds the port that is checked for all, by name or number', () => {
    for (const port of ['http', '80'])
      expect(read({ [names.kind]: 'tcp', [names.port]: port }).check?.portName).toBe('http');
    for (const port of ['dns', '53', '8080']) {
      const { check, problems } = read({ [names.kind]: 'tcp', [names.port]: port });
      expect(check).not.toHaveProperty('portName');
      expect(problems).toEqual([expect.stringContaining('TCP port of the Service')]);
    }
  });

  it('never waits longer for an answer than for the next check', () => {
    expect(read({ [names.kind]: 'tcp', [names.interval]: '1s' }).check?.timeoutMs).toBe(1_000);
  });

  it('does not check where unready endpoints are wanted', () => {
    const service = { annotations: { [names.kind]: 'tcp' }, ports, publishNotReadyAddresses: true };
    expect(healthCheckOf(service, defaults)).toEqual({ problems: [expect.stringContaining('publishNotReady')] });
    expect(healthCheckOf({ ...service, annotations: {} }, { ...defaults, kind: 'tcp' })).toEqual({ problems: [] });
  });

  it('is sound whatever the annotations say', () => {
    const keys = Object.values(names);
    const annotations = fc.dictionary(fc.constantFrom(...keys), fc.oneof(fc.string(), fc.constantFrom('tcp', 'http')));
    fc.assert(
      fc.property(annotations, (found) => {
        const { check } = read(found);
        if (check === undefined) return;
        expect(check.path).toMatch(/^\/[!-~]*$/);
        expect(check.timeoutMs).toBeLessThanOrEqual(check.intervalMs);
        for (const value of [check.intervalMs, check.healthyThreshold, check.unhealthyThreshold])
          expect(value).toBeGreaterThanOrEqual(1);
      }),
    );
  });
});
