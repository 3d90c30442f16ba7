import { formatCidr, parseIp } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { readRoutes, routeTo } from './routes.ts';

const v4 = [
  { dst: 'default', gateway: '192.168.1.1', dev: 'eth0', flags: [] },
  { dst: '10.244.0.0/16', dev: 'cni0', flags: [] },
  { dst: '10.244.7.0/24', gateway: '192.168.1.7', dev: 'eth0', flags: [] },
  { dst: '10.244.7.9', gateway: '192.168.1.9', dev: 'eth0', flags: ['linkdown'] },
  { type: 'blackhole', dst: '10.244.8.0/26', flags: [] },
  {
    dst: '10.9.0.0/16',
    nexthops: [
      { gateway: '192.168.1.3', dev: 'eth0' },
      { gateway: '192.168.1.4', dev: 'eth1' },
    ],
  },
  { dst: '10.8.0.0/16', via: { family: 'inet6', host: 'fe80::1' }, dev: 'eth0' },
];
const v6 = [{ dst: 'fd00:7::/64', gateway: 'fd00::7', dev: 'eth0' }];
const runner = {
  run: async (_: string, args: readonly string[]) => ({
    code: 0,
    stderr: '',
    stdout: JSON.stringify(args[0] === '-4' ? v4 : v6),
  }),
};

describe('readRoutes', () => {
  it.each([
    ['10.244.7.9', '10.244.7.0/24 192.168.1.7', 'the longest prefix whose link is up'],
    ['10.244.3.1', '10.244.0.0/16 ', 'no gateway on the link itself'],
    ['10.9.1.1', '10.9.0.0/16 192.168.1.3 192.168.1.4', 'every next hop'],
    ['10.8.1.1', '10.8.0.0/16 fe80::1', 'gateways of the other family'],
    ['8.8.8.8', '0.0.0.0/0 192.168.1.1', 'the default route'],
    ['fd00:7::9', 'fd00:7::/64 fd00::7', 'IPv6'],
  ])('finds for %s: %s (%s)', async (address, expected) => {
    const route = routeTo(await readRoutes(runner), parseIp(address) as Uint8Array);
    expect(route && [formatCidr(route.destination), route.gateways.join(' ')].join(' ')).toBe(expected);
  });

  it('finds nothing where there is no route', async () => {
    expect(routeTo(await readRoutes(runner), parseIp('fd00:8::1') as Uint8Array)).toBeUndefined();
  });
});
