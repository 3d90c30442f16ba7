import { type DatagramSink, MeshError, type NodeInfo, parseIp } from '@edgemesh/core';
import { createFakeClock, createRecordingLogger, createTestCatalog } from '@edgemesh/testkit';
import { describe, expect, it } from 'vitest';
import { FRAME_HEADER_BYTES } from '../packets/layout.ts';
import { createPodNetwork, type PodNetworkOptions } from './network.ts';
import type { PodRoute, TunPort } from './types.ts';

const node = (name: string, podCIDRs: string[]): NodeInfo => ({ name, labels: {}, internalIPs: [], podCIDRs });
const me = node('me', ['10.244.1.0/24', 'fd44:1::/64']);

function icmp(source: string, destination: string): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + 28);
  frame.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1], FRAME_HEADER_BYTES);
  frame.set(parseIp(source) as Uint8Array, FRAME_HEADER_BYTES + 12);
  frame.set(parseIp(destination) as Uint8Array, FRAME_HEADER_BYTES + 16);
  return frame;
}

/** One node's pod network on fakes: a TUN that the test feeds, routes that it reads, channels that it holds. */
async function rig(
  nodes: readonly NodeInfo[],
  more: Partial<PodNetworkOptions> = {},
  offload: TunPort['offload'] = 'tso+uso',
) {
  const view = createTestCatalog();
  view.nodes(...nodes);
  const clock = createFakeClock();
  const log = createRecordingLogger();
  const written: Uint8Array[] = [];
  const applied: (readonly PodRoute[])[] = [];
  const channels: { node: string; sent: Uint8Array[]; sink?: DatagramSink; full: boolean; closed: boolean }[] = [];
  let onFrame: (frame: Uint8Array) => void = () => undefined;
  const state = { routesFail: false, refuse: false };
  const tun: TunPort = {
    name: 'tun9',
    offload,
    start: (given) => {
      onFrame = given;
    },
    write: (frame) => !state.refuse && written.push(frame) > 0,
  };
  const network = await createPodNetwork({
    view,
    nodeName: 'me',
    ranges: { cloudCIDR: [], edgeCIDR: [] },
    tun,
    routes: {
      survey: async () => ({ subnets: [], foreign: new Set() }),
      async apply(routes) {
        if (state.routesFail) throw new Error('no netlink today');
        applied.push(routes);
        return 0;
      },
      clear: async () => void applied.push([]),
    },
    openPackets(name) {
      const channel: (typeof channels)[number] = { node: name, sent: [], full: false, closed: false };
      channels.push(channel);
      return {
        attach: (sink) => {
          channel.sink = sink;
        },
        send: (frame) => !channel.full && channel.sent.push(frame) > 0,
        close: () => {
          channel.closed = true;
        },
      };
    },
    clock,
    log,
    ...more,
  });
  return {
    network,
    clock,
    log,
    written,
    applied,
    channels,
    state,
    view,
    feed: (frame: Uint8Array) => onFrame(frame),
    async change(next: readonly NodeInfo[]) {
      view.nodes(...next);
    },
  };
}

describe('the pod network', () => {
  it('reaches the LAN by VXLAN where that is wanted: rules first, device, routes, and all gone at the end', async () => {
    const steps: string[] = [];
    const routed: (readonly PodRoute[])[] = [];
    const { network, change } = await rig([me, { ...node('near', ['10.244.2.0/24']), internalIPs: ['192.168.1.2'] }], {
      routes: {
        survey: async () => ({ subnets: [{ cidr: '192.168.1.0/24', device: 'eth0' }], foreign: new Set() }),
        apply: async (routes) => {
          routed.push(routes);
          return 0;
        },
        clear: async () => undefined,
      },
      probe: { watch: () => undefined, reachable: () => ['192.168.1.2'], onChange: () => () => undefined },
      nft: async (script) => {
        if (!script.includes('edgemesh_vxlan')) return;
        steps.push(script.includes('192.168.1.2') ? 'rules' : 'no rules');
      },
      vxlan: {
        name: 'vx9',
        id: 94,
        port: 8472,
        apply: async (_, peers) => steps.push(`${peers.length} peers`),
        clear: async () => void steps.push('clear'),
      },
    });
    expect(steps).toEqual(['rules', '1 peers']);
    expect(routed.at(-1)).toEqual([{ cidr: '10.244.2.0/24', gateway: '10.244.2.1', device: 'vx9' }]);
    await change([me]);
    await network.settled();
    expect(steps.slice(2)).toEqual(['0 peers', 'no rules']);
    await network[Symbol.asyncDispose]();
    expect(steps.at(-1)).toBe('clear');
  });

  it('sends a packet to the node that has its destination, copied, over one channel', async () => {
    const { feed, channels, applied } = await rig([me, node('far', ['10.244.2.0/24'])]);
    expect(applied.at(-1)).toEqual([{ cidr: '10.244.2.0/24' }]);
    const frame = icmp('10.244.1.5', '10.244.2.9');
    feed(frame);
    feed(frame);
    feed(icmp('10.244.1.5', '10.244.77.1'));
    expect(channels).toHaveLength(1);
    expect(channels[0]?.sent.map((one) => Uint8Array.from(one))).toEqual([frame, frame]);
    frame.fill(0);
    expect(channels[0]?.sent[0]?.some((byte) => byte !== 0)).toBe(true);
  });

  it('writes what a node may send, and nothing else', async () => {
    const { network, written } = await rig([me, node('far', ['10.244.2.0/24']), node('third', ['10.244.3.0/24'])]);
    const channel = network.accept('far');
    if (channel instanceof MeshError) throw channel;
    channel.send(icmp('10.244.2.9', '10.244.1.5'));
    channel.send(icmp('10.244.3.9', '10.244.1.5'));
    channel.send(icmp('10.244.2.9', '10.244.3.5'));
    channel.send(new Uint8Array(3));
    expect(written).toEqual([icmp('10.244.2.9', '10.244.1.5')]);
    expect(network.accept('stranger')).toMatchObject({ code: 'forbidden', retryable: true });
  });

  it('does not carry the tunnel inside itself, whatever address a peer announces', async () => {
    const { feed, channels } = await rig([me, node('far', ['10.244.2.0/24'])]);
    const connect = (source: string, port: number) => {
      const frame = icmp(source, '10.244.2.1');
      frame[FRAME_HEADER_BYTES + 9] = 6;
      frame.set([port >> 8, port & 255], FRAME_HEADER_BYTES + 22);
      return frame;
    };
    feed(connect('10.244.1.1', 20_006));
    expect(channels).toHaveLength(0);
    feed(connect('10.244.1.1', 443));
    feed(connect('10.244.1.7', 20_006));
    expect(channels[0]?.sent).toHaveLength(2);
  });

  it('cuts batches of datagrams for a kernel that cannot', async () => {
    const { network, written } = await rig([me, node('far', ['10.244.2.0/24'])], {}, 'tso');
    const channel = network.accept('far');
    if (channel instanceof MeshError) throw channel;
    const batch = new Uint8Array(FRAME_HEADER_BYTES + 28 + 250);
    batch.set(icmp('10.244.2.9', '10.244.1.5'));
    batch.set([1, 5, 28, 0, 100, 0, 20, 0, 6, 0, 0x45, 0, 278 >> 8, 278 & 255]);
    batch[FRAME_HEADER_BYTES + 9] = 17;
    channel.send(batch);
    expect(written.map((frame) => frame.length - FRAME_HEADER_BYTES - 28)).toEqual([100, 100, 50]);
  });

  it('ends the channels of others with itself, once, so that they open new ones', async () => {
    const { network } = await rig([me, node('far', ['10.244.2.0/24'])]);
    const told: (string | undefined)[] = [];
    const open = () => {
      const channel = network.accept('far');
      if (channel instanceof MeshError) throw channel;
      channel.attach({ message: () => undefined, closed: (error) => told.push(error?.code) });
      return channel;
    };
    const [left, stays] = [open(), open()];
    left.close();
    left.close();
    await network[Symbol.asyncDispose]();
    stays.close();
    expect(told).toEqual([undefined, 'shutdown']);
  });

  it('follows nodes that come and go, and stops believing those that went', async () => {
    const { network, clock, change, applied, written, channels, feed } = await rig([me]);
    await change([me, node('far', ['10.244.2.0/24'])]);
    clock.advance(150);
    await network.settled();
    expect(applied.at(-1)).toEqual([{ cidr: '10.244.2.0/24' }]);
    const channel = network.accept('far');
    if (channel instanceof MeshError) throw channel;
    feed(icmp('10.244.1.5', '10.244.2.9'));
    await change([me]);
    clock.advance(150);
    await network.settled();
    expect(applied.at(-1)).toEqual([]);
    expect(channels[0]?.closed).toBe(true);
    channel.send(icmp('10.244.2.9', '10.244.1.5'));
    expect(written).toEqual([]);
  });

  it('is not held off by changes that never end', async () => {
    const { network, clock, change, applied } = await rig([me]);
    for (let i = 0; i < 30; i++) {
      await change([me, node('far', [`10.244.${i + 2}.0/24`])]);
      clock.advance(50);
    }
    await network.settled();
    expect(applied.length).toBeGreaterThanOrEqual(2);
  });

  it('opens a failed channel again after a pause, dropping meanwhile', async () => {
    const { feed, channels, clock } = await rig([me, node('far', ['10.244.2.0/24'])]);
    const frame = icmp('10.244.1.5', '10.244.2.9');
    feed(frame);
    channels[0]?.sink?.closed(new MeshError('session-lost', 'gone'));
    feed(frame);
    expect(channels).toHaveLength(1);
    clock.advance(5_000);
    feed(frame);
    expect(channels).toHaveLength(2);
    expect(channels[1]?.sent).toHaveLength(1);
  });

  it('closes channels that nobody uses', async () => {
    const { feed, channels, clock } = await rig([me, node('far', ['10.244.2.0/24'])]);
    feed(icmp('10.244.1.5', '10.244.2.9'));
    clock.advance(400_000);
    expect(channels[0]?.closed).toBe(true);
  });

  it('says why the kernel does not follow, and gets over it', async () => {
    const { network, clock, change, state, log } = await rig([me]);
    state.routesFail = true;
    await change([me, node('far', ['10.244.2.0/24'])]);
    clock.advance(150);
    await network.settled();
    expect(network.status().error).toBe('no netlink today');
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    state.routesFail = false;
    clock.advance(4_000);
    await network.settled();
    expect(network.status().error).toBeUndefined();
  });

  it('tells the plugin about the node, and never that it has no ranges any more', async () => {
    const told: unknown[] = [];
    const { network, clock, change } = await rig([me], {
      writeNodeFile: async (facts) => void told.push(facts),
      mtu: 1400,
    });
    expect(told).toEqual([{ nodeName: 'me', podCIDRs: me.podCIDRs, mtu: 1400 }]);
    await change([]);
    clock.advance(150);
    await network.settled();
    expect(told).toHaveLength(1);
  });

  it('masquerades what leaves the mesh, and nothing between pods', async () => {
    const scripts: string[] = [];
    const { network } = await rig([me, node('far', ['10.244.2.0/24'])], {
      nft: async (script) => void scripts.push(script),
    });
    expect(scripts).toHaveLength(1);
    expect(scripts[0]).toContain('elements = { 10.244.1.0/24, 10.244.2.0/24, 224.0.0.0/4, 169.254.0.0/16 }');
    await network[Symbol.asyncDispose]();
    expect(scripts[1]).toBe('table inet edgemesh_cni\ndelete table inet edgemesh_cni\n');
  });

  it('leaves nothing behind: no route, no channel, no timer, no listener', async () => {
    const { network, feed, applied, channels, clock, view } = await rig([me, node('far', ['10.244.2.0/24'])]);
    feed(icmp('10.244.1.5', '10.244.2.9'));
    await network[Symbol.asyncDispose]();
    await network[Symbol.asyncDispose]();
    expect(applied.at(-1)).toEqual([]);
    expect(channels[0]?.closed).toBe(true);
    expect([clock.pendingTimers, view.subscribers]).toEqual([0, 0]);
    expect(network.accept('far')).toMatchObject({ code: 'shutdown' });
  });
});
