import {
  createLanProbe,
  createNetworkPolicies,
  createPodNetwork,
  NETWORK_DEFAULTS,
  writeNodeFile,
} from '@edgemesh/cni';
import { detach, type Logger, messageOf, sleep, systemClock } from '@edgemesh/core';
import { createPodRoutes, createShellRunner, createVxlan, mustRun, openTun, type TunDevice } from '@edgemesh/linux';
import type { ModuleContext } from '@edgemesh/telemetry';
import type { AgentModule } from '../context.ts';
import { LAN_PROBE_PORT, readLanProbeKey } from '../pods/lan-probe-key.ts';
import { openPackets } from '../pods/packets.ts';
import { DEFAULT_MTU, MIN_MTU, uplinkMtu } from '../pods/uplink-mtu.ts';

/** How often the MTU of the uplink is looked at, in milliseconds. */
const MTU_POLL_MS = 5_000;
/** How often a change between complete and incomplete reaches the module's state, in milliseconds; `details.cni` has it at once. */
const STATE_POLL_MS = 5_000;

/** What VXLAN adds must fit into the uplink too, in bytes. */
const VXLAN_OVERHEAD_BYTES = NETWORK_DEFAULTS.vxlanOverheadBytes;
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
    const toPods = (uplink: number) => (isVxlan ? Math.max(MIN_MTU, uplink - VXLAN_OVERHEAD_BYTES) : uplink);
    let mtu = toPods((await uplinkMtu(runner)) ?? DEFAULT_MTU);
    const tun = stack.use(await openTun({ name: NETWORK_DEFAULTS.tunName, mtu, runner, log, metrics }));
    const key = await readLanProbeKey(edgeTunnel);
    const probe = key && stack.use(await createLanProbe({ nodeName, key, port: LAN_PROBE_PORT, log }));
    const vxlan = isVxlan && createVxlan({ ...VXLAN, port: edgeCNI.vxlanPort, mtu, runner, log });
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
        ...(vxlan && { vxlan }),
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
    const changeMtu = async (next: number) => {
      if (next === mtu) return;
      log.info('the MTU of the uplink has changed', { before: mtu, mtu: next });
      mtu = next;
      // New pods first: what the device does not take, they must not send.
      network.setMtu(next);
      await network.settled();
      await tun.setMtu(next);
      if (vxlan) await vxlan.setMtu(next);
    };
    const followMtu = async () => {
      const uplink = await uplinkMtu(runner);
      if (uplink !== undefined) await changeMtu(toPods(uplink));
    };
    detach('follow the MTU', log, watch(log, run.signal, MTU_POLL_MS, followMtu));
    const problem = () => network.status().error ?? policies.status().error;
    detach('watch the pod network', log, reportState(problem, run));
    return stack.move();
  },
};

/** Looks again and again, whatever became of the last look. */
async function watch(log: Logger, signal: AbortSignal, intervalMs: number, look: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await sleep(intervalMs, systemClock, signal);
    if (signal.aborted) return;
    await look().catch((error: unknown) => log.warn('looking at the uplink failed', { error: messageOf(error) }));
  }
}

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
