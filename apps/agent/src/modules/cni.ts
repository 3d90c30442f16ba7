import {
  createLanProbe,
  createNetworkPolicies,
  createPodNetwork,
  NETWORK_DEFAULTS,
  writeNodeFile,
} from '@edgemesh/cni';
import { detach, sleep, systemClock } from '@edgemesh/core';
import { createPodRoutes, createShellRunner, createVxlan, mustRun, openTun, type TunDevice } from '@edgemesh/linux';
import type { ModuleContext } from '@edgemesh/telemetry';
import type { AgentModule } from '../context.ts';
import { LAN_PROBE_PORT, readLanProbeKey } from '../pods/lan-probe-key.ts';
import { openPackets } from '../pods/packets.ts';
import { MIN_MTU, uplinkMtu } from '../pods/uplink-mtu.ts';

/** How often a change between complete and incomplete reaches the module's state, in milliseconds; `details.cni` has it at once. */
const STATE_POLL_MS = 5_000;

const VXLAN = { name: NETWORK_DEFAULTS.vxlanName, id: NETWORK_DEFAULTS.vxlanId } as const;

/** The pod network: addresses for the CNI plugin, routes and packets to pods of other nodes, NetworkPolicy. */
export const cniModule: AgentModule = {
  name: 'cni',
  section: 'edgeCNI',
  isWanted: ({ modules }) => modules.edgeCNI.enable,
  async start(room, run) {
    const { config, nodeName, view, log, metrics } = room.context();
    const { edgeCNI, edgeTunnel } = config.modules;
    await using stack = new AsyncDisposableStack();
    const runner = stack.use(await createShellRunner());
    const isVxlan = edgeCNI.lanMode === 'vxlan';
    const uplink = await uplinkMtu(runner);
    const mtu = isVxlan ? Math.max(MIN_MTU, uplink - NETWORK_DEFAULTS.vxlanOverheadBytes) : uplink;
    const tun = stack.use(await openTun({ name: NETWORK_DEFAULTS.tunName, mtu, runner, log, metrics }));
    const key = await readLanProbeKey(edgeTunnel);
    const probe = key && stack.use(await createLanProbe({ nodeName, key, port: LAN_PROBE_PORT, log }));
    const policies = stack.use(await createNetworkPolicies({ view, nodeName, runner, log, metrics }));
    const network = stack.use(
      await createPodNetwork({
        view,
        nodeName,
        ranges: edgeCNI.meshCIDRConfig,
        tun,
        routes: createPodRoutes({ tun: tun.name, protocol: NETWORK_DEFAULTS.routeProtocol, runner, log }),
        openPackets: (node) => openPackets(room.parts, node),
        tunnelPorts: [...new Set([edgeTunnel.listenPort, ...NETWORK_DEFAULTS.tunnelPorts])],
        ...(probe && { probe }),
        ...(isVxlan && { vxlan: createVxlan({ ...VXLAN, port: edgeCNI.vxlanPort, mtu, runner, log }) }),
        nft: async (script) => void (await mustRun(runner, 'nft', ['-f', '-'], { input: script })),
        // Where the plugin looks for it, unless dataDir is another.
        writeNodeFile: (facts) => writeNodeFile(facts, `${config.commonConfig.dataDir}/cni-node.json`),
        mtu,
        log,
        metrics,
      }),
    );
    room.parts.podNetwork = network;
    room.parts.networkPolicies = policies;
    stack.defer(() => {
      if (room.parts.podNetwork === network) room.parts.podNetwork = undefined;
      if (room.parts.networkPolicies === policies) room.parts.networkPolicies = undefined;
    });
    room.describe('cni', () =>
      room.parts.podNetwork === network ? { ...network.status(), mtu, policies: policies.status() } : undefined,
    );
    failWith(tun, run);
    const problem = () => network.status().error ?? policies.status().error;
    detach('watch the pod network', log, reportState(problem, run));
    return stack.move();
  },
};

/** A device that somebody removed takes every route along: all must be made anew. */
function failWith(tun: TunDevice, run: ModuleContext): void {
  void tun.closed.then((error) => {
    if (!run.signal.aborted) run.failed(error ?? new Error(`the device ${tun.name} was closed`));
  });
}

async function reportState(problem: () => string | undefined, run: ModuleContext): Promise<void> {
  let before: string | undefined;
  while (!run.signal.aborted) {
    await sleep(STATE_POLL_MS, systemClock, run.signal);
    const now = problem();
    if (now === before || run.signal.aborted) continue;
    if (now === undefined) run.ready();
    else run.degraded(now);
    before = now;
  }
}
