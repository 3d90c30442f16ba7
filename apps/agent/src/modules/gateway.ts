import { CNI_DEFAULTS, NETWORK_DEFAULTS } from '@edgemesh/cni';
import type { Catalog, Service } from '@edgemesh/core';
import {
  createStatusWriter,
  GATEWAY_API_RESOURCES,
  INGRESS_RESOURCES,
  type StatusWriter,
} from '@edgemesh/discovery/kubernetes';
import { CONTROLLER_NAME, createGateway } from '@edgemesh/gateway';
import { DESTINATION_RULE_KIND, destinationRuleFor } from '@edgemesh/lb';
import type { AgentModule, AgentRoom } from '../context.ts';
import { createBalancing } from './balancing.ts';

/** Links of other software that hold ClusterIPs or the same address on every node: nobody outside can mean them. */
const NEVER_LISTENED = ['edge-dummy0', 'kube-ipvs0', 'nodelocaldns'];
/** Policies of the configuration, named as in DestinationRules. */
const DEFAULT_POLICIES = { ROUND_ROBIN: 'roundRobin', RANDOM: 'random', LEAST_REQUEST: 'leastRequest' } as const;
/** Our own: the bridge of pods, and the device that leads to other nodes' pods. */
const OWN_LINKS = [CNI_DEFAULTS.bridge, NETWORK_DEFAULTS.tunName];

/** Lets traffic from outside in, by Gateway and route objects, to endpoints on any node. */
export const gatewayModule: AgentModule = {
  name: 'gateway',
  section: 'edgeGateway',
  isWanted: ({ modules }) => modules.edgeGateway.enable,
  async start(room) {
    const { config, nodeName, view, log, metrics } = room.context();
    const { clusterDomain, bridgeDeviceName } = config.commonConfig;
    const { nic, includeIP, excludeIP, loadBalancer } = config.modules.edgeGateway;
    const balancing = createBalancing({
      view,
      nodeName,
      clusterDomain,
      defaultPolicy: { kind: DEFAULT_POLICIES[loadBalancer.simple] },
      locality: config.modules.edgeProxy.locality,
      pathTo: (node) => room.parts.tunnel?.pathTo(node),
      pathsVersion: () => room.reachability.pathsVersion,
      readsRequests: () => true,
      log,
    });
    const destinationRule = (service: Service, catalog: Catalog) => {
      const rules = catalog.objects.get(DESTINATION_RULE_KIND);
      return rules && destinationRuleFor(service, rules.values(), clusterDomain);
    };
    await using stack = new AsyncDisposableStack();
    const statusWriter = stack.use(startStatusWriter(room));
    const gateway = await createGateway(
      {
        nics: nic,
        includeIPs: includeIP,
        excludeIPs: excludeIP,
        excludeNics: [bridgeDeviceName, ...OWN_LINKS, ...NEVER_LISTENED],
        unlessAsked: ['lo'],
        clusterDomain,
      },
      {
        view,
        balancing,
        dialer: room.dialer,
        destinationRule,
        sessionCookie: (service, number, subset) => {
          const port = service.ports.find((p) => p.port === number && p.protocol === 'TCP');
          return port && balancing.sessionCookie(service, port, subset);
        },
        follow: room.cluster.follow,
        ...(statusWriter && { statusWriter }),
        log,
        metrics,
      },
    );
    stack.use(gateway);
    room.describe('gateway', () => ({ ...gateway.status(), statuses: statusWriter?.state() ?? { role: 'none' } }));
    return stack.move();
  },
};

/** Statuses go back to the API server that the objects come from; a metaServer has no status subresources. */
function startStatusWriter(room: AgentRoom): StatusWriter | undefined {
  const { nodeName, log, metrics } = room.context();
  const { apiServer: connection, namespace } = room.cluster;
  if (connection === undefined) return undefined;
  return createStatusWriter({
    connection,
    node: nodeName,
    namespace,
    topic: 'gateway',
    controllerName: CONTROLLER_NAME,
    resources: [...GATEWAY_API_RESOURCES, ...INGRESS_RESOURCES],
    log,
    metrics,
  });
}
