import { isProfiledByAdmin, splitHostPort } from '@edgemesh/config';
import { createAdminServer } from '@edgemesh/telemetry';
import type { AgentModule } from '../context.ts';
import { diagnosisRoutes } from '../diagnosis/routes.ts';

/** Health, status and metrics over HTTP. */
export const adminModule: AgentModule = {
  name: 'admin',
  critical: false,
  isWanted: ({ commonConfig }) => commonConfig.adminListen !== '',
  start(room) {
    const { config, log } = room.context();
    const listen = splitHostPort(config.commonConfig.adminListen);
    if (listen === undefined) throw new TypeError('adminListen is checked by the schema');
    return createAdminServer({
      ...room.telemetry,
      listen,
      profiling: isProfiledByAdmin(config.commonConfig),
      status: () => room.status(),
      routes: diagnosisRoutes(room),
      log,
    });
  },
};
