import { isProfiledByAdmin } from '@edgemesh/config';
import { createAdminServer } from '@edgemesh/telemetry';
import type { AgentModule } from '../context.ts';
import { hasIpv6 } from './kernel.ts';

/** Metrics on a port of their own on every address, for a Prometheus outside of the node; as the original's tunnel had it. */
export const metricsModule: AgentModule = {
  name: 'metrics',
  critical: false,
  isWanted: ({ modules }) => modules.edgeTunnel.enable && modules.edgeTunnel.metricConfig.enable,
  async start(room) {
    const { config, log } = room.context();
    const { port } = config.modules.edgeTunnel.metricConfig;
    return createAdminServer({ ...room.telemetry, listen: { host: (await hasIpv6()) ? '::' : '0.0.0.0', port }, log });
  },
};

/** Heap snapshots and CPU profiles, where somebody has asked for them. */
export const profilingModule: AgentModule = {
  name: 'profiling',
  critical: false,
  isWanted: ({ commonConfig }) => commonConfig.pprofConfig.enableProfiling && !isProfiledByAdmin(commonConfig),
  start(room) {
    const { config, log } = room.context();
    const { profilingAddress: host, profilingPort: port } = config.commonConfig.pprofConfig;
    return createAdminServer({ ...room.telemetry, listen: { host, port }, profiling: true, log });
  },
};
