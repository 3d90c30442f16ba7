import type { AgentConfig } from '@edgemesh/config';
import { createHealthChecker, type HealthCheckerOptions } from '@edgemesh/proxy-l4';
import type { AgentModule } from '../context.ts';
import { isOurs } from './proxy.ts';

/**
 * Active checks of endpoints, through the kernel or the tunnel as their traffic goes. What fails is marked not ready in the catalog
 * that all modules read, so it leaves rules, listeners and names, whether or not the cluster can be asked.
 */
export const endpointChecksModule: AgentModule = {
  name: 'endpoint-checks',
  section: 'edgeProxy.healthChecks',
  critical: false,
  isWanted: ({ modules }) => modules.edgeProxy.enable && modules.edgeProxy.healthChecks.enable,
  async start(room, run) {
    const { config, log, metrics } = room.context();
    const { clusterCatalog: catalog, leaveOut, dialer } = room;
    const checker = createHealthChecker(checkerOptions(config), { catalog, leaveOut, dialer, log, metrics });
    room.parts.checker = checker;
    run.signal.addEventListener('abort', () => {
      if (room.parts.checker === checker) room.parts.checker = undefined;
    });
    room.describe('endpointChecks', () => checker.status);
    return checker;
  },
};

/** The configuration in the checker's units. */
export function checkerOptions(config: AgentConfig): HealthCheckerOptions {
  const { kind, path, interval, timeout, maxConcurrent, maxEndpoints, ...thresholds } =
    config.modules.edgeProxy.healthChecks;
  return {
    defaults: {
      kind,
      path,
      intervalMs: interval * 1_000,
      timeoutMs: timeout * 1_000,
      healthyThreshold: thresholds.healthyThreshold,
      unhealthyThreshold: thresholds.unhealthyThreshold,
      maxEjectionPercent: thresholds.maxEjectionPercent,
    },
    include: isOurs(config),
    maxConcurrent,
    maxEndpoints,
  };
}
