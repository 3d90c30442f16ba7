import { createServer, type Server } from 'node:http';
import { detach, type Endpoint, messageOf, type Service, type ServiceId, sleep, systemClock } from '@edgemesh/core';
import type { AgentModule, AgentRoom } from '../context.ts';
import { isOurs } from './proxy.ts';

/** How long to wait before a port that is in use is tried again, in milliseconds. */
const RETRY_MS = 15_000;

/**
 * Answers load balancers at `healthCheckNodePort` of Services with externalTrafficPolicy Local, as kube-proxy does: 200 where this
 * node has ready endpoints, 503 where it has none. Where kube-proxy runs, it has the port already; then its answer stands.
 */
export const healthChecksModule: AgentModule = {
  name: 'health-checks',
  section: 'edgeProxy',
  critical: false,
  isWanted: ({ modules }, kernelMode) => kernelMode && modules.edgeProxy.enable,
  async start(room, run) {
    const servers = new Map<number, HealthServer>();
    const include = isOurs(room.context().config);
    const follow = async () => {
      const wanted = wantedChecks(room.services.current.services.values(), include);
      for (const [port, server] of servers) {
        if (wanted.get(port) === server.id) continue;
        servers.delete(port);
        await server.close();
      }
      for (const [port, id] of wanted) {
        if (servers.has(port) || run.signal.aborted) continue;
        const server = new HealthServer(room, id);
        if (await server.listen(port)) servers.set(port, server);
      }
      return [...wanted.keys()].filter((port) => !servers.has(port));
    };
    let queue = follow();
    const schedule = () => {
      queue = queue.then(follow);
      detach('follow health checks', room.context().log, queue);
    };
    const unsubscribe = room.services.subscribe((_, change) => {
      if (change.services.size > 0) schedule();
    });
    detach(
      'retry health checks',
      room.context().log,
      retry(schedule, () => queue, run.signal),
    );
    await queue;
    room.describe('healthChecks', () => ({ ports: [...servers.keys()] }));
    return {
      async [Symbol.asyncDispose]() {
        unsubscribe();
        await queue;
        for (const server of servers.values()) await server.close();
      },
    };
  },
};

async function retry(schedule: () => void, queue: () => Promise<number[]>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(RETRY_MS, systemClock, signal);
    if (!signal.aborted && (await queue()).length > 0) schedule();
  }
}

/** Which Service is asked about at which port. */
export function wantedChecks(
  services: Iterable<Service>,
  include: (service: Service) => boolean,
): ReadonlyMap<number, ServiceId> {
  const wanted = new Map<number, ServiceId>();
  for (const service of services) {
    const { healthCheckNodePort: port, externalTrafficPolicy, type } = service;
    if (type !== 'LoadBalancer' || externalTrafficPolicy !== 'Local' || !port || !include(service)) continue;
    if (!wanted.has(port)) wanted.set(port, service.id);
  }
  return wanted;
}

/** How many pods of this node are ready to serve; a pod with several ports counts once. */
export function readyHere(endpoints: readonly Endpoint[], nodeName: string): number {
  return new Set(endpoints.filter((e) => e.ready && e.nodeName === nodeName).map((e) => e.address)).size;
}

class HealthServer {
  readonly id: ServiceId;
  readonly #server: Server;

  constructor(room: Pick<AgentRoom, 'context' | 'services'>, id: ServiceId) {
    this.id = id;
    this.#server = createServer((_, response) => {
      const { nodeName } = room.context();
      const localEndpoints = readyHere(room.services.current.endpoints.get(id) ?? [], nodeName);
      const [namespace, name] = id.split('/');
      response.writeHead(localEndpoints > 0 ? 200 : 503, {
        'content-type': 'application/json',
        'x-content-type-options': 'nosniff',
        'x-load-balancing-endpoint-weight': String(localEndpoints),
        connection: 'close',
      });
      response.end(JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy: true }));
    });
  }

  /** False when the port is in use. */
  listen(port: number): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRINUSE') resolve(false);
        else reject(new Error(`health check port ${port}: ${messageOf(error)}`, { cause: error }));
      });
      this.#server.listen(port, () => resolve(true));
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}
