import { silentLogger } from '@edgemesh/core';
import type { Runner } from '@edgemesh/linux';
import { createFakeClock, createTestCatalog } from '@edgemesh/testkit';
import type { PathKind, PathTransition } from '@edgemesh/tunnel';
import { afterEach, describe, expect, it } from 'vitest';
import { createReachability, type Reachability } from './reachability.ts';
import { testNode } from './testing/catalog.ts';

const ROUTES = [
  { dst: 'default', gateway: '192.168.1.9', dev: 'eth0' },
  { dst: '192.168.1.0/24', dev: 'eth0', scope: 'link' },
  { dst: '172.17.0.0/16', dev: 'docker0', scope: 'link' },
  { dst: '10.244.1.0/24', dev: 'cni0', scope: 'link' },
  { dst: '10.244.2.0/24', gateway: '192.168.1.2', dev: 'eth0' },
  { dst: '10.244.3.0/24', gateway: '10.244.3.0', dev: 'flannel.1' },
  { dst: '10.244.4.0/24', gateway: '192.168.1.77', dev: 'eth0' },
  { dst: '10.244.5.0/24', dev: 'edgemesh-tun' },
  { dst: 'fd00:6::/64', gateway: 'fe80::6', dev: 'edgemesh-vxlan' },
  { dst: 'fd00:7::/64', gateway: 'fe80::7', dev: 'eth0' },
  { dst: '10.9.0.0/24', gateway: '192.168.1.6', dev: 'eth0' },
];
const open: Reachability[] = [];
afterEach(() => {
  for (const reachability of open.splice(0)) reachability[Symbol.dispose]();
});

async function setup(options: { hasTunnel?: boolean; runner?: Runner | null } = {}) {
  const view = createTestCatalog();
  view.nodes(
    testNode('me', '192.168.1.1', '10.244.1.0/24'),
    testNode('host-gw', '192.168.1.2', '10.244.2.0/24'),
    testNode('vxlan', '192.168.1.3', '10.244.3.0/24'),
    testNode('foreign-gateway', '192.168.1.4', '10.244.4.0/24'),
    testNode('tun', '192.168.1.5', '10.244.5.0/24'),
    testNode('our-vxlan', '192.168.1.10', 'fd00:6::/64'),
    testNode('link-local', '192.168.1.11', 'fd00:7::/64'),
    testNode('shared-1', '192.168.1.6', '10.9.0.0/24'),
    testNode('shared-2', '192.168.1.7', '10.9.0.0/16'),
    testNode('default-gateway', '192.168.1.9', '10.244.9.0/24'),
    testNode('docker', '192.168.1.8', '172.17.0.0/16'),
  );
  const state = { routes: ROUTES as unknown, calls: 0 };
  const runner: Runner = {
    run: async (_, args) => {
      state.calls++;
      return { code: 0, stderr: '', stdout: args[0] === '-4' ? JSON.stringify(state.routes) : '[]' };
    },
  };
  const clock = createFakeClock();
  const chosen = options.runner === null ? {} : { runner: options.runner ?? runner };
  const reachability = createReachability({
    nodeName: 'me',
    view,
    hasTunnel: options.hasTunnel ?? true,
    log: silentLogger,
    clock,
    ...chosen,
  });
  open.push(reachability);
  await reachability.refresh();
  const is = (nodeName: string | undefined, address: string) =>
    reachability.isRoutable({ address, ...(nodeName !== undefined && { nodeName }) });
  return { view, clock, reachability, is, state };
}

/** A tunnel with paths that the test sets. */
function fakeTunnel() {
  const paths = new Map<string, PathKind>();
  const listeners = new Set<(nodeName: string, transition: PathTransition) => void>();
  return {
    pathTo: (nodeName: string) => paths.get(nodeName),
    onTransition(listener: (nodeName: string, transition: PathTransition) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    set(nodeName: string, path: PathKind | undefined) {
      if (path === undefined) paths.delete(nodeName);
      else paths.set(nodeName, path);
      for (const listener of listeners) listener(nodeName, {} as PathTransition);
    },
  };
}

describe('isRoutable', () => {
  it.each<[string | undefined, string, boolean, string]>([
    [undefined, '1.2.3.4', true, 'no node'],
    ['me', '172.17.0.2', true, 'this node'],
    ['host-gw', '10.244.2.7', true, 'a podCIDR routed by way of its node'],
    ['vxlan', '10.244.3.7', true, 'a podCIDR behind an overlay gateway of its own'],
    ['our-vxlan', 'fd00:6::7', true, 'a podCIDR that our own pod network reaches'],
    ['link-local', 'fd00:7::7', false, 'a route by way of a link-local address of somebody'],
    ['host-gw', '10.244.3.7', false, 'an address outside the podCIDR of its node'],
    ['host-gw', '172.17.0.2', false, "docker's address, which exists everywhere"],
    ['docker', '172.17.0.2', false, 'the same, claimed as podCIDR: our own bridge has that route'],
    ['foreign-gateway', '10.244.4.7', false, 'a route by way of somebody else'],
    ['tun', '10.244.5.7', false, 'a route into a device without gateway'],
    ['shared-1', '10.9.0.7', false, 'a podCIDR that overlaps with another node'],
    ['default-gateway', '10.244.9.7', false, 'the default route, even by way of the node'],
    ['host-gw', '192.168.1.2', false, 'an InternalIP on our subnet that nothing has proven'],
    ['unknown', '10.244.2.7', false, 'a node that the cluster does not know'],
    ['host-gw', 'name.example', false, 'a name'],
  ])('of %s %s is %s: %s', async (nodeName, address, expected) => {
    const { is } = await setup();
    expect(is(nodeName, address)).toBe(expected);
  });

  it('is true for everything without a tunnel, and for this node alone without routes', async () => {
    const without = await setup({ hasTunnel: false });
    expect(without.is('docker', '172.17.0.2')).toBe(true);
    const off = await setup({ runner: null });
    expect([off.is('host-gw', '10.244.2.7'), off.is('me', '172.17.0.2')]).toEqual([false, true]);
    const broken = await setup({ runner: { run: async () => Promise.reject(new Error('no ip')) } });
    expect([broken.is('host-gw', '10.244.2.7'), broken.reachability.status.problem]).toEqual([false, 'no ip']);
  });

  it('takes a session over the LAN as proof for an InternalIP, until another path is used', async () => {
    const { is, reachability, clock } = await setup();
    const tunnel = fakeTunnel();
    const run = new AbortController();
    reachability.follow(tunnel, run.signal);
    let changes = 0;
    reachability.onChange(() => changes++);
    tunnel.set('host-gw', 'lan');
    expect([is('host-gw', '192.168.1.2'), changes]).toEqual([true, 1]);
    tunnel.set('host-gw', undefined);
    clock.advance(60_000);
    expect([is('host-gw', '192.168.1.2'), changes]).toEqual([true, 1]);
    tunnel.set('host-gw', 'relayed');
    expect([is('host-gw', '192.168.1.2'), changes]).toEqual([false, 2]);
    expect(reachability.pathsVersion).toBe(3);
    run.abort();
    tunnel.set('host-gw', 'lan');
    expect(is('host-gw', '192.168.1.2')).toBe(false);
  });

  it('says when routes or nodes change its answers, and only then', async () => {
    const { is, reachability, state, view } = await setup();
    let changes = 0;
    reachability.onChange(() => changes++);
    await reachability.refresh();
    expect(changes).toBe(0);
    state.routes = ROUTES.slice(0, 4);
    await reachability.refresh();
    expect([changes, is('host-gw', '10.244.2.7')]).toEqual([1, false]);
    view.nodes(testNode('me', '192.168.1.1'));
    expect(changes).toBe(2);
  });
});
