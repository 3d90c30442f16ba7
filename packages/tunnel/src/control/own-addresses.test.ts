import { expect, test } from 'vitest';
import { type InterfaceAddress, isOnOwnSubnet, ownAddresses, usableInterfaces } from './own-addresses.ts';

const at = (name: string, cidr: string): InterfaceAddress => ({
  interface: name,
  host: cidr.split('/')[0] as string,
  cidr,
  loopback: name === 'lo',
});
const machine = [
  at('lo', '127.0.0.1/8'),
  at('eth0', '192.168.1.7/24'),
  at('eth0', 'fe80::1/64'),
  at('eth0', 'fd00::7/64'),
  at('br0', '10.1.0.1/16'),
  at('br-0123456789ab', '172.18.0.1/16'),
  at('docker0', '172.17.0.1/16'),
  at('cni0', '10.244.0.1/24'),
  at('edgemesh0', '169.254.96.16/32'),
  at('edge-dummy0', '169.254.30.10/32'),
  at('wan', '5.1.1.7/24'),
];
const everything = { listenInterfaces: [], filtered: [] };
const hosts = (list: readonly { host: string }[]) => list.map(({ host }) => host);
const any = [{ host: '0.0.0.0', port: 1 }];

test('addresses that are the same on every node or cannot be dialled are left out, real bridges are not', () => {
  expect(hosts(usableInterfaces(machine, everything))).toEqual(['192.168.1.7', 'fd00::7', '10.1.0.1', '5.1.1.7']);
});

test('the operator chooses interfaces and filters names and ranges', () => {
  expect(hosts(usableInterfaces(machine, { listenInterfaces: ['eth*'], filtered: ['fd00::/8'] }))).toEqual([
    '192.168.1.7',
  ]);
  expect(hosts(usableInterfaces(machine, { listenInterfaces: ['*'], filtered: ['br0', 'wan', ''] }))).toEqual([
    '192.168.1.7',
    'fd00::7',
  ]);
});

test('private addresses are for the LAN, others and advertised ones are public, the advertised first', () => {
  const own = ownAddresses(any, usableInterfaces(machine, everything), [{ host: '203.0.113.9', port: 9 }]);
  expect(hosts(own.lan)).toEqual(['10.1.0.1', '192.168.1.7']);
  expect(own.public).toEqual([
    { host: '203.0.113.9', port: 9 },
    { host: '5.1.1.7', port: 1 },
  ]);
});

test('a listener on one address stands for that address only', () => {
  const own = ownAddresses([{ host: '192.168.1.7', port: 2 }], usableInterfaces(machine, everything), []);
  expect(own).toEqual({ lan: [{ host: '192.168.1.7', port: 2 }], public: [] });
});

test('loopback listeners count as LAN when there is nothing else', () => {
  const loopback = { host: '127.0.0.5', port: 3 };
  expect(ownAddresses([loopback], usableInterfaces(machine, everything), [])).toEqual({ lan: [loopback], public: [] });
  const both = ownAddresses([loopback, ...any], usableInterfaces(machine, everything), []);
  expect(hosts(both.lan)).not.toContain('127.0.0.5');
});

test('a private address in one of our subnets is on the LAN, a public or foreign one is not', () => {
  expect(isOnOwnSubnet('192.168.1.200', machine)).toBe(true);
  expect(isOnOwnSubnet('127.0.0.9', machine)).toBe(true);
  expect(isOnOwnSubnet('192.168.2.1', machine)).toBe(false);
  expect(isOnOwnSubnet('5.1.1.8', machine)).toBe(false);
});
