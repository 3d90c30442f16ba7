import { parseAgentConfig } from '@edgemesh/config';
import { MeshError } from '@edgemesh/core';
import { createRecordingRunner, type RecordedCall } from '@edgemesh/linux';
import { describe, expect, it } from 'vitest';
import type { AgentParts } from '../context.ts';
import { wantedResources } from '../modules/discovery.ts';
import { cleanupPods } from './cleanup-pods.ts';
import { deriveLanProbeKey, readLanProbeKey } from './lan-probe-key.ts';
import { acceptPackets, openPackets } from './packets.ts';
import { uplinkMtu } from './uplink-mtu.ts';

const HEAD = 'apiVersion: agent.edgemesh.config.kubeedge.io/v1alpha1\nkind: EdgeMeshAgent\n';
const config = (yaml = '') => parseAgentConfig(HEAD + yaml).config;
const ON = 'modules: {edgeCNI: {enable: true}}';

/** A runner that answers a command by its whole line, and everything else with nothing. */
function answering(lines: Readonly<Record<string, unknown>>) {
  return createRecordingRunner(({ command, args }: RecordedCall) => {
    const answer = lines[[command, ...args].join(' ')];
    if (answer === undefined) return undefined;
    return { stdout: typeof answer === 'string' ? answer : JSON.stringify(answer) };
  });
}

describe('the MTU of pods', () => {
  const default4 = 'ip -4 -j route show default';
  const default6 = 'ip -6 -j route show default';
  const link = (name: string, mtu: number) => ({ [`ip -j link show dev ${name}`]: [{ ifname: name, mtu }] });

  it.each<[string, Record<string, unknown>, number | undefined]>([
    ['unknown without an uplink', {}, undefined],
    ['that of the link with the default route', { [default4]: [{ dev: 'ppp0' }], ...link('ppp0', 1_492) }, 1_492],
    [
      'that of the preferred one of several',
      {
        [default4]: [
          { dev: 'wlan0', metric: 600 },
          { dev: 'eth0', metric: 100 },
        ],
        ...link('wlan0', 1_400),
        ...link('eth0', 9_000),
      },
      9_000,
    ],
    [
      'that of the IPv6 uplink where there is no other',
      { [default6]: [{ dev: 'eth1' }], ...link('eth1', 1_460) },
      1_460,
    ],
    ['never less than IPv6 needs', { [default4]: [{ dev: 'sat0' }], ...link('sat0', 576) }, 1_280],
    [
      'that of a multipath route',
      { [default4]: [{ nexthops: [{ dev: 'a' }, { dev: 'b' }] }], ...link('a', 1_450) },
      1_450,
    ],
  ])('is %s', async (_, lines, mtu) => {
    expect(await uplinkMtu(answering(lines))).toBe(mtu);
  });
});

describe('the key of the LAN probe', () => {
  it('is 32 bytes of the secret alone, white space apart', () => {
    const key = deriveLanProbeKey('secret');
    expect(key).toHaveLength(32);
    expect(deriveLanProbeKey(' secret\n')).toEqual(key);
    expect(deriveLanProbeKey('secret2')).not.toEqual(key);
  });

  it('is missing only where there is no tunnel either', async () => {
    const psk = { enable: true, path: '/does/not/exist' };
    const { edgeTunnel } = config().modules;
    expect(await readLanProbeKey({ ...edgeTunnel, enable: false, psk })).toBeUndefined();
    await expect(readLanProbeKey({ ...edgeTunnel, enable: true, psk })).rejects.toThrow(/secret cannot be read/);
  });
});

describe('packets of other nodes', () => {
  const ask = (yaml: string, parts: Partial<AgentParts> = {}) =>
    acceptPackets({ config: config(yaml), nodeName: 'me' }, parts, 'peer');

  it('are refused with the reason while there is no pod network', () => {
    expect(ask('')).toMatchObject({ code: 'forbidden', retryable: false, message: /edgeCNI\.enable is false/ });
    expect(ask(ON)).toMatchObject({ code: 'forbidden', retryable: true, message: /not running yet/ });
  });

  it('are the running pod network’s to take', () => {
    const podNetwork = { accept: (node: string) => new MeshError('limit', node) } as AgentParts['podNetwork'];
    expect(ask(ON, { podNetwork })).toMatchObject({ code: 'limit', message: 'peer' });
  });

  it('cannot be sent without a tunnel, which is told and not thrown', async () => {
    const channel = openPackets({}, 'there');
    const { promise, resolve } = Promise.withResolvers<MeshError | undefined>();
    channel.attach({ message: () => undefined, closed: resolve });
    expect(channel.send(new Uint8Array(1))).toBe(false);
    expect(await promise).toMatchObject({ code: 'unreachable', retryable: true });
  });
});

describe('discovery', () => {
  it('reads Pods and NetworkPolicies only for the pod network', () => {
    const kinds = (yaml: string) => wantedResources(config(yaml), 'apiserver').map(({ kind }) => kind);
    expect(kinds('')).not.toEqual(expect.arrayContaining(['Pod']));
    expect(kinds('')).not.toEqual(expect.arrayContaining(['NetworkPolicy']));
    expect(kinds(ON)).toEqual(expect.arrayContaining(['Pod', 'NetworkPolicy']));
  });
});

describe('cleanup', () => {
  it('finds nothing on a clean node and changes nothing', async () => {
    const runner = answering({});
    expect((await cleanupPods(runner)).map(({ result }) => result)).toEqual(Array(6).fill('absent'));
    expect(runner.calls.every(({ args }) => args.includes('show') || args.includes('list'))).toBe(true);
  });

  it('removes routes and rules of our number, our bridge and our device, and nothing else', async () => {
    const runner = answering({
      'nft list tables': 'table inet theirs\ntable bridge edgemesh_pods\n',
      'ip -4 -j route show table main proto 94': [{ dst: '10.244.2.0/24', gateway: '192.168.1.2' }],
      'ip -6 -j rule show': [
        { priority: 0, protocol: 'kernel' },
        { priority: 77, protocol: '94' },
      ],
      'ip -j -d link show': [
        { ifname: 'emcni0', ifalias: 'edgemesh-cni', linkinfo: { info_kind: 'bridge' } },
        { ifname: 'edgemesh-tun', linkinfo: { info_kind: 'tun' } },
        { ifname: 'edgemesh-vxlan', linkinfo: { info_kind: 'vxlan' } },
        { ifname: 'docker0', linkinfo: { info_kind: 'bridge' } },
      ],
    });
    expect((await cleanupPods(runner)).map(({ result }) => result)).toEqual(Array(6).fill('removed'));
    const changes = runner.calls.filter(({ args }) => !args.includes('show') && !args.includes('list'));
    expect(changes.map(({ args, input }) => input?.trim() ?? args.join(' '))).toEqual([
      'route del 10.244.2.0/24 proto 94',
      'rule del priority 77 protocol 94',
      'delete table bridge edgemesh_pods',
      'link del dev edgemesh-vxlan',
      'link del dev emcni0',
      'link del dev edgemesh-tun',
    ]);
  });

  it('leaves a bridge of somebody else alone and says so', async () => {
    const runner = answering({ 'ip -j -d link show': [{ ifname: 'emcni0', linkinfo: { info_kind: 'bridge' } }] });
    expect(await cleanupPods(runner)).toContainEqual({ what: 'bridge emcni0', result: 'is not ours, left alone' });
  });
});
