import type { Metrics } from '@edgemesh/core';

/** Metrics of active health checks, resolved once. */
export function createHealthMetrics(metrics: Metrics) {
  const checks = metrics.counter({
    name: 'edgemesh_l4_health_checks_total',
    help: 'Active health checks of endpoints, by result',
    labels: ['result'],
  });
  const changes = metrics.counter({
    name: 'edgemesh_l4_health_changes_total',
    help: 'Endpoints that active checks found healthy or unhealthy',
    labels: ['to'],
  });
  return {
    leftOut: metrics
      .gauge({ name: 'edgemesh_l4_health_left_out', help: 'Endpoints left out because active checks fail' })
      .with(),
    checked: (result: 'ok' | 'failed') => checks.with(result).add(),
    changed: (to: 'healthy' | 'unhealthy') => changes.with(to).add(),
  };
}

/** The metrics of one registry. */
export type HealthMetrics = ReturnType<typeof createHealthMetrics>;
