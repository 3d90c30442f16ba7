import { parseAgentConfig } from '@edgemesh/config';
import { createTestCatalog } from '@edgemesh/testkit';
import type { InboundRequest } from '@edgemesh/tunnel';
import { describe, expect, it } from 'vitest';
import { nodeTargets } from './own-addresses.ts';
import { testNode } from './testing/catalog.ts';

const view = createTestCatalog();
view.nodes(testNode('me', '198.51.100.1'), testNode('other', '198.51.100.2'));
const config = (socks5Proxy: string, proxy = 'true') =>
  parseAgentConfig(
    `apiVersion: agent.edgemesh.config.kubeedge.io/v1alpha1
kind: EdgeMeshAgent
modules: {edgeProxy: {enable: ${proxy}, socks5Proxy: {${socks5Proxy}}}}`,
  ).config;
const request = (address: string, port: number, kind: InboundRequest['kind'] = 'tcp') =>
  ({ address, port, kind, nodeName: 'peer' }) as InboundRequest;

describe('nodeTargets', () => {
  let current = config('enable: true');
  const isOpen = nodeTargets(() => ({ config: current, nodeName: 'me', view }));

  it.each<[string, number, InboundRequest['kind'], boolean]>([
    ['198.51.100.1', 22, 'tcp', true],
    ['127.0.0.1', 22, 'tcp', true],
    ['198.51.100.2', 22, 'tcp', false],
    ['172.17.0.2', 22, 'tcp', false],
    ['198.51.100.1', 23, 'tcp', false],
    ['127.0.0.1', 10_551, 'tcp', false],
    ['198.51.100.1', 22, 'udp', false],
    ['198.51.100.1', 22, 'packets', false],
  ])('opens %s port %i over %s: %s', (address, port, kind, expected) => {
    expect(isOpen(request(address, port, kind))).toBe(expected);
  });

  it('opens nothing where SOCKS5 is off, and follows the configuration', () => {
    current = config('enable: false');
    expect(isOpen(request('198.51.100.1', 22))).toBe(false);
    current = config('enable: true', 'false');
    expect(isOpen(request('198.51.100.1', 22))).toBe(false);
    current = config('enable: true, sshPort: 2222');
    expect([isOpen(request('198.51.100.1', 22)), isOpen(request('198.51.100.1', 2222))]).toEqual([false, true]);
  });
});
