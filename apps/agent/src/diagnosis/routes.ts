import { MeshError, messageOf } from '@edgemesh/core';
import type { AdminRequest, AdminResponse, AdminRoute } from '@edgemesh/telemetry';
import type { AgentRoom } from '../context.ts';
import { isOurs } from '../modules/proxy.ts';
import { explainService } from './explain.ts';
import { findService } from './find-service.ts';
import { pingNode } from './node-echo.ts';

/** How long a ping may take, in milliseconds: finding a path included. */
const PING_TIMEOUT_MS = 10_000;
/** Pings at the same time; somebody else's page must not make traffic of this. */
const MAX_PINGS = 8;

/** `/explain?service=NAME` and `/ping?node=NAME`: the questions of `edgemesh why` and `edgemesh ping`. */
export function diagnosisRoutes(room: AgentRoom): AdminRoute[] {
  let pings = 0;
  return [
    { path: '/explain', handle: (request) => explain(room, request) },
    {
      path: '/ping',
      async handle({ query }) {
        const node = query.get('node') ?? '';
        if (node === '') return problem(400, 'which node? /ping?node=NAME');
        const { tunnel } = room.parts;
        if (tunnel === undefined) return problem(503, 'the tunnel is not running: see `edgemesh status`');
        if (pings >= MAX_PINGS) return problem(429, `${MAX_PINGS} pings are on their way, try again`);
        pings++;
        try {
          return { body: { node, ...(await pingNode(tunnel, node, { timeoutMs: PING_TIMEOUT_MS })) } };
        } catch (error) {
          return problem(error instanceof MeshError && error.code === 'timeout' ? 504 : 502, messageOf(error));
        } finally {
          pings--;
        }
      },
    },
  ];
}

function explain(room: AgentRoom, { query }: AdminRequest): AdminResponse {
  const name = query.get('service') ?? '';
  if (name === '') return problem(400, 'which Service? /explain?service=NAME');
  const { config, nodeName, view } = room.context();
  const { clusterDomain } = config.commonConfig;
  const namespace = query.get('namespace');
  const found = findService(view.current, { name, clusterDomain, ...(namespace !== null && { namespace }) });
  if (found.service === undefined) {
    const { catalog } = room.status();
    const alike = found.suggestions.length > 0 ? ` Did you mean ${found.suggestions.join(' or ')}?` : '';
    return problem(
      404,
      `there is no Service ${found.wanted} among the ${catalog.services} of the catalog (${catalog.source}).${alike}`,
    );
  }
  const body = explainService(found.service, {
    nodeName,
    clusterDomain,
    catalog: view.current,
    include: isOurs(config),
    kernelMode: room.kernelMode,
    balancing: room.parts.proxy?.balancing,
    isRoutable: (endpoint) => room.reachability.isRoutable(endpoint),
    failedCheck: (endpoint, service) => room.parts.checker?.whyLeftOut(endpoint, service),
    peers: room.parts.tunnel?.peers(),
  });
  return { body };
}

function problem(status: number, error: string): AdminResponse {
  return { status, body: { error } };
}
