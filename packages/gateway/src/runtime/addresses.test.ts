import { describe, expect, it } from 'vitest';
import { type AddressOptions, chooseAddresses } from './addresses.ts';

const NODE = {
  lo: [{ address: '127.0.0.1' }, { address: '::1' }],
  eth0: [{ address: '192.168.1.5' }, { address: 'fe80::1' }, { address: 'fd00:0::5' }],
  eth1: [{ address: '10.0.0.5' }, { address: '192.168.1.5' }],
  edgemesh0: [{ address: '169.254.96.16' }],
};

describe('the addresses to listen on', () => {
  it.each<[AddressOptions, string[]]>([
    [{}, ['127.0.0.1', '::1', '192.168.1.5', 'fd00::5', '10.0.0.5', '169.254.96.16']],
    [
      { nics: ['*'], includeIPs: ['*'], excludeIPs: ['*'], excludeNics: ['edgemesh0'] },
      ['127.0.0.1', '::1', '192.168.1.5', 'fd00::5', '10.0.0.5'],
    ],
    [{ nics: ['eth1', 'eth9'] }, ['10.0.0.5', '192.168.1.5']],
    [{ nics: ['eth0', 'eth1'], includeIPs: ['10.0.0.0/8', 'fd00::/8'] }, ['fd00::5', '10.0.0.5']],
    [{ includeIPs: ['192.168.1.5'] }, ['192.168.1.5']],
    [{ excludeIPs: ['127.0.0.0/8', '::1', '169.254.0.0/16', 'fd00:0:0::5'] }, ['192.168.1.5', '10.0.0.5']],
    [{ includeIPs: ['10.0.0.5'], excludeIPs: ['10.0.0.0/24'] }, []],
    [{ unlessAsked: ['lo'], excludeNics: ['edgemesh0'] }, ['192.168.1.5', 'fd00::5', '10.0.0.5']],
    [
      { unlessAsked: ['lo'], nics: ['*'], includeIPs: ['*'], excludeNics: ['edgemesh0', 'eth0'] },
      ['10.0.0.5', '192.168.1.5'],
    ],
    [{ unlessAsked: ['lo'], nics: ['lo', 'eth1'] }, ['127.0.0.1', '::1', '10.0.0.5', '192.168.1.5']],
    [{ unlessAsked: ['lo'], includeIPs: ['127.0.0.1', '10.0.0.0/8'] }, ['127.0.0.1', '10.0.0.5']],
    [{ unlessAsked: ['lo'], nics: ['lo'], excludeIPs: ['::1'] }, ['127.0.0.1']],
  ])('%j', (options, expected) => {
    expect(chooseAddresses(NODE, options)).toEqual(expected);
  });
});
