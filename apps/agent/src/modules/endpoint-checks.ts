import type { AgentConfig } from '@edgemesh/config';
import type { Endpoint, ServiceId } from '@edgemesh/core';
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
    // Connections that failed meanwhile have made the listener's balancer leave it out too, and for longer.
    const recovered = (id: ServiceId, endpoint: Endpoint) =>
      room.parts.proxy?.services
        .upstream(id, endpoint.portName, endpoint.protocol)
        ?.report?.(endpoint, { kind: 'recovered' });
    const deps = { catalog, leaveOut, recovered, dialer, log, metrics };
    const checker = createHealthChecker(checkerOptions(config), deps);
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
