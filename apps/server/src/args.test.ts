import { describe, expect, it } from 'vitest';
import { readArguments } from './args.ts';

describe('the command line of the server', () => {
  it('turns flags into what wins over the file', () => {
    const args = [
      '--listen',
      '0.0.0.0:1',
      '--advertise',
      '1.2.3.4',
      '--advertise',
      '::1',
      '--psk-file',
      '/p',
      '--node-name',
      'hub',
    ];
    expect(readArguments(args, {})).toEqual({
      kind: 'run',
      configFile: undefined,
      nodeName: 'hub',
      overrides: { listen: '0.0.0.0:1', advertiseAddress: ['1.2.3.4', '::1'], psk: { path: '/p' } },
    });
  });

  it('takes the data folder and the name from the environment, flags first', () => {
    const env = { EDGEMESH_DATA_DIR: '/env', NODE_NAME: 'env' };
    expect(readArguments([], env)).toMatchObject({ nodeName: 'env', overrides: { dataDir: '/env' } });
    expect(readArguments(['--data-dir', '/flag', '--node-name', 'flag'], env)).toMatchObject({
      nodeName: 'flag',
      overrides: { dataDir: '/flag' },
    });
  });

  it('can switch the admin endpoint off', () => {
    expect(readArguments(['--admin-listen', ''], {})).toMatchObject({ overrides: { adminListen: '' } });
  });

  it('refuses flags that it does not know', () => {
    expect(() => readArguments(['--listem', 'x'], {})).toThrow(/--listem/);
  });

  it('prints instead of running', () => {
    expect(readArguments(['--version'], {})).toEqual({ kind: 'print', what: 'version' });
  });
});
