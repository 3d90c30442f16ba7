import { writeFile } from 'node:fs/promises';
import { type Logger, messageOf, silentLogger } from '@edgemesh/core';
import { createRunner, mustRun, type Runner } from '../exec.ts';

/** Another node behind the device. */
export interface VxlanPeer {
  /** Its IPv4 address on the LAN: where encapsulated packets go. */
  readonly remote: string;
  /** MAC of its device. */
  readonly mac: string;
  /** Next hops of routes to its pods, which have that MAC. */
  readonly gateways: readonly string[];
}

export interface VxlanOptions {
  /** The device. */
  readonly name: string;
  /** VNI, the same on every node. */
  readonly id: number;
  /** UDP port, the same on every node. */
  readonly port: number;
  /** Bytes of the inner packet. */
  readonly mtu: number;
  readonly runner?: Runner;
  readonly log?: Logger;
  /** Writes a kernel setting. Default: /proc/sys of this process' namespace. */
  readonly writeSetting?: (setting: string, value: string) => Promise<void>;
}

/** A VXLAN device that learns nothing: it sends to the peers it is told, and to nobody else. Calls must not overlap. */
export interface Vxlan {
  readonly name: string;
  readonly id: number;
  readonly port: number;
  /** Makes the device, with this MAC, and its peers; returns the number of changes. Without peers there is no device. */
  apply(mac: string, peers: readonly VxlanPeer[]): Promise<number>;
  /** Changes the MTU, in bytes of the inner packet. */
  setMtu(mtu: number): Promise<void>;
  clear(): Promise<void>;
}

/** Creates the manager of the device; the kernel is touched by the first `apply`. */
export function createVxlan(options: VxlanOptions): Vxlan {
  const { name, id, port, runner = createRunner(), log = silentLogger } = options;
  const writeSetting = options.writeSetting ?? ((setting, value) => writeFile(`/proc/sys/${setting}`, value));
  let { mtu } = options;
  /** What the device has, as far as we made it; undefined: nothing is known of it. */
  let present: Entries | undefined;

  const exists = async () => (await runner.run('ip', ['link', 'show', 'dev', name])).code === 0;
  const batch = async (command: 'ip' | 'bridge', lines: readonly string[]) => {
    if (lines.length > 0) await mustRun(runner, command, ['-force', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  };
  const remove = async (): Promise<void> => {
    present = undefined;
    await mustRun(runner, 'ip', ['link', 'del', 'dev', name]);
  };
  const create = async (mac: string): Promise<void> => {
    await batch('ip', [
      `link add name ${name} address ${mac} mtu ${mtu} type vxlan id ${id} dstport ${port} nolearning`,
      `link set dev ${name} addrgenmode none`,
    ]);
    for (const [setting, value] of [
      // Replies of pods may leave by another way than their requests came.
      [`net/ipv4/conf/${name}/rp_filter`, '2'],
      [`net/ipv6/conf/${name}/disable_ipv6`, '0'],
      [`net/ipv6/conf/${name}/accept_ra`, '0'],
    ] as const) {
      await writeSetting(setting, value).catch((error: unknown) => {
        log.warn('a kernel setting of the VXLAN device could not be written', { setting, error: messageOf(error) });
      });
    }
    await batch('ip', [`link set dev ${name} up`]);
    present = { mac, neighbours: new Map(), forwards: new Map() };
  };

  return {
    name,
    id,
    port,
    async apply(mac, peers) {
      const there = await exists();
      if (peers.length === 0) {
        if (there) await remove();
        return there ? 1 : 0;
      }
      let changes = 0;
      if (!there || present?.mac !== mac) {
        if (there) await remove();
        await create(mac);
        changes++;
      }
      const wanted = entriesOf(mac, peers);
      const { neighbours, forwards } = entryChanges(name, present as Entries, wanted);
      await batch('ip', neighbours);
      await batch('bridge', forwards);
      present = wanted;
      return changes + neighbours.length + forwards.length;
    },
    async setMtu(next) {
      mtu = next;
      if (present !== undefined) await mustRun(runner, 'ip', ['link', 'set', 'dev', name, 'mtu', String(mtu)]);
    },
    async clear() {
      if (await exists()) await remove();
    },
  };
}

interface Entries {
  readonly mac: string;
  /** MAC by next hop. */
  readonly neighbours: ReadonlyMap<string, string>;
  /** Node's address by MAC. */
  readonly forwards: ReadonlyMap<string, string>;
}

function entriesOf(mac: string, peers: readonly VxlanPeer[]): Entries {
  return {
    mac,
    neighbours: new Map(peers.flatMap((peer) => peer.gateways.map((gateway) => [gateway, peer.mac] as const))),
    forwards: new Map(peers.map((peer) => [peer.mac, peer.remote])),
  };
}

/** The lines of `ip -batch` and `bridge -batch` from what is to what should be. Pure. */
export function entryChanges(
  name: string,
  before: Entries,
  after: Entries,
): { readonly neighbours: string[]; readonly forwards: string[] } {
  const gone = (from: ReadonlyMap<string, string>, to: ReadonlyMap<string, string>) =>
    [...from].filter(([key]) => !to.has(key));
  const fresh = (from: ReadonlyMap<string, string>, to: ReadonlyMap<string, string>) =>
    [...to].filter(([key, value]) => from.get(key) !== value);
  return {
    neighbours: [
      ...gone(before.neighbours, after.neighbours).map(([hop]) => `neigh del ${hop} dev ${name}`),
      ...fresh(before.neighbours, after.neighbours).map(
        ([hop, mac]) => `neigh replace ${hop} lladdr ${mac} dev ${name} nud permanent`,
      ),
    ],
    forwards: [
      ...gone(before.forwards, after.forwards).map(([mac, to]) => `fdb del ${mac} dev ${name} dst ${to}`),
      ...fresh(before.forwards, after.forwards).map(
        ([mac, to]) => `fdb replace ${mac} dev ${name} dst ${to} self permanent`,
      ),
    ],
  };
}
