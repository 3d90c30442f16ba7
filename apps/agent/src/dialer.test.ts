import type { ByteStream, Datagrams, Dialer } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { createMeshDialer } from './dialer.ts';

const named = (name: string): Dialer => ({
  dial: () => name as unknown as ByteStream,
  openDatagrams: () => name as unknown as Datagrams,
});

describe('createMeshDialer', () => {
  let tunnel: Dialer | undefined = named('tunnel');
  const dialer = createMeshDialer({
    nodeName: 'me',
    local: named('local'),
    tunnel: () => tunnel,
    isRoutable: ({ nodeName }) => nodeName === 'near',
  });
  const target = (nodeName?: string) => ({ address: '172.17.0.2', port: 80, ...(nodeName && { nodeName }) });

  it.each<[string | undefined, string, string]>([
    [undefined, 'local', 'no node'],
    ['me', 'local', 'this node'],
    ['near', 'local', 'a routable one'],
    ['far', 'tunnel', 'any other node'],
  ])('dials %s by %s: %s', (nodeName, expected) => {
    expect(dialer.dial(target(nodeName))).toBe(expected);
    expect(dialer.openDatagrams(target(nodeName))).toBe(expected);
  });

  it('leaves everything to the kernel while there is no tunnel', () => {
    tunnel = undefined;
    expect(dialer.dial(target('far'))).toBe('local');
  });
});
