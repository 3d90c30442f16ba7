/**
 * One node of the lab: a tunnel, a TUN device and the pod network, told on stdin which nodes there are.
 * Usage: node node-main.ts '<NodeMainOptions as JSON>'
 */
import { createInterface } from 'node:readline';
import {
  CNI_DEFAULTS,
  createLanProbe,
  createPodNetwork,
  NETWORK_DEFAULTS,
  type TunPort,
  writeNodeFile,
} from '@edgemesh/cni';
import { createCatalogFeed, EMPTY_CATALOG, MeshError, type NodeInfo } from '@edgemesh/core';
import { createPodRoutes, createRunner, createVxlan, mustRun, openTun } from '@edgemesh/linux';
import { createRelayServer, createTunnel } from '@edgemesh/tunnel';

export interface NodeMainOptions {
  readonly role: 'node' | 'relay';
  readonly nodeName: string;
  readonly stateDir: string;
  readonly listen: string;
  /** `ip:port` of relays. */
  readonly relays?: readonly string[];
  readonly nodes?: readonly NodeInfo[];
  readonly cloudCIDR?: readonly string[];
  readonly edgeCIDR?: readonly string[];
  /** Look for nodes on the LAN. */
  readonly probe?: boolean;
  /** Reach nodes of the LAN by VXLAN. */
  readonly vxlan?: boolean;
  readonly mtu?: number;
  /** Interfaces that the tunnel must not use either. */
  readonly filteredInterfaces?: readonly string[];
  /** Share of frames that are damaged before they are sent, 0 to 1. */
  readonly malformed?: number;
}

const options = JSON.parse(process.argv[2] as string) as NodeMainOptions;
const say = (kind: string, value: unknown) => console.log(`${kind} ${JSON.stringify(value)}`);
const tunnelOptions = {
  nodeName: options.nodeName,
  stateDir: options.stateDir,
  secrets: ['secret of this lab'],
  control: {
    listen: [{ host: options.listen, port: 20006 }],
    mdns: false,
    // Addresses of the pod network are reached through the tunnel: it must not be sought there.
    extraFilteredInterfaces: [NETWORK_DEFAULTS.tunName, CNI_DEFAULTS.bridge, ...(options.filteredInterfaces ?? [])],
    relays: (options.relays ?? []).map((address) => ({ addresses: [address] })),
    ...(options.role === 'relay' ? { advertise: [options.listen] } : {}),
  },
};

if (options.role === 'relay') {
  await createRelayServer(tunnelOptions, {});
  console.log('ready');
} else {
  await runNode();
}

async function runNode(): Promise<void> {
  const toMap = (nodes: readonly NodeInfo[]) => new Map(nodes.map((node) => [node.name, node]));
  const view = createCatalogFeed({ ...EMPTY_CATALOG, revision: 1, nodes: toMap(options.nodes ?? []) });
  let network: Awaited<ReturnType<typeof createPodNetwork>> | undefined;
  const stack = new AsyncDisposableStack();
  const tunnel = stack.use(
    await createTunnel(tunnelOptions, {
      inbound: {
        openStream: () => new MeshError('forbidden', 'no streams here'),
        openDatagrams: ({ kind, nodeName }) =>
          kind === 'packets' && network !== undefined
            ? network.accept(nodeName)
            : new MeshError('forbidden', 'only packets', { retryable: true }),
      },
    }),
  );
  const mtu = options.mtu ?? 1_500;
  const tun = stack.use(await openTun({ name: NETWORK_DEFAULTS.tunName, mtu }));
  const key = Buffer.alloc(32, 7);
  const probe = options.probe
    ? stack.use(await createLanProbe({ nodeName: options.nodeName, key, port: 20_006 }))
    : undefined;
  const { vxlanName: name, vxlanId: id, vxlanPort: port } = NETWORK_DEFAULTS;
  const runner = createRunner();
  const counters = new Map<string, number>();
  network = stack.use(
    await createPodNetwork({
      view,
      nodeName: options.nodeName,
      ranges: { cloudCIDR: options.cloudCIDR ?? [], edgeCIDR: options.edgeCIDR ?? [] },
      tun: options.malformed === undefined ? tun : damaged(tun, options.malformed),
      routes: createPodRoutes({ tun: tun.name, protocol: NETWORK_DEFAULTS.routeProtocol }),
      openPackets: (nodeName) => tunnel.openPackets(nodeName),
      ...(probe === undefined ? {} : { probe }),
      ...(options.vxlan && {
        vxlan: createVxlan({ name, id, port, mtu }),
        nft: async (script: string) => void (await mustRun(runner, 'nft', ['-f', '-'], { input: script })),
      }),
      writeNodeFile: (facts) => writeNodeFile(facts, `${options.stateDir}/cni-node.json`),
      mtu,
      metrics: {
        counter: ({ name }) => ({
          with: (...labels) => {
            const id = [name, ...labels].join(' ');
            return { add: (n = 1) => void counters.set(id, (counters.get(id) ?? 0) + n) };
          },
        }),
        gauge: () => ({ with: () => ({ set: () => undefined, add: () => undefined }) }),
        histogram: () => ({ with: () => ({ observe: () => undefined }) }),
        observe: () => undefined,
      },
    }),
  );
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const order = JSON.parse(line) as { readonly nodes?: readonly NodeInfo[]; readonly status?: string };
    if (order.nodes !== undefined) {
      const { current } = view;
      const changed = new Set([...order.nodes.map(({ name }) => name), ...current.nodes.keys()]);
      view.publish({ ...current, revision: current.revision + 1, nodes: toMap(order.nodes) }, { nodes: changed });
    }
    if (order.status !== undefined) {
      say(`status ${order.status}`, {
        ...network?.status(),
        counters: Object.fromEntries(counters),
        peers: tunnel.peers(),
      });
    }
  });
  process.once('SIGTERM', () => {
    lines.close();
    void stack.disposeAsync().then(() => process.exit(0));
  });
  console.log('ready');
}

/** A device whose frames are damaged now and then: cut, extended, or with bytes overwritten, headers included. */
function damaged(tun: TunPort, share: number): TunPort {
  const random = (limit: number) => Math.floor(Math.random() * limit);
  return {
    name: tun.name,
    offload: tun.offload,
    write: (frame) => tun.write(frame),
    start: (onFrame) =>
      tun.start((frame) => {
        if (Math.random() >= share) {
          onFrame(frame);
          return;
        }
        const copy = Uint8Array.from(frame);
        const kind = random(3);
        // The destination stays: the frame is to arrive, and to be refused there.
        const bad = kind === 0 ? copy.subarray(0, Math.max(50, random(copy.length))) : copy;
        if (kind === 1) for (let i = 0; i < 4; i++) copy[random(10)] = random(256);
        if (kind === 2)
          for (let i = 0; i < 8; i++)
            copy[random(2) === 0 ? 11 + random(15) : 30 + random(copy.length - 30)] = random(256);
        onFrame(bad);
      }),
  };
}
