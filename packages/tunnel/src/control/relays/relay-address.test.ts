import { expect, test } from 'vitest';
import { parseAdvertised, parseRelayAddress } from './relay-address.ts';

test('all documented forms are read', () => {
  const read = (text: string) => parseRelayAddress(text, 20_006);
  expect(read('192.0.2.1')).toEqual({ host: '192.0.2.1', port: 20_006 });
  expect(read(' 192.0.2.1:99 ')).toEqual({ host: '192.0.2.1', port: 99 });
  expect(read('2001:DB8::1')).toEqual({ host: '2001:db8::1', port: 20_006 });
  expect(read('[2001:db8::1]:99')).toEqual({ host: '2001:db8::1', port: 99 });
  expect(read('relay.example.com')).toEqual({ host: 'relay.example.com', port: 20_006 });
  expect(read('/ip4/192.0.2.1/tcp/99/p2p/12D3KooWJeWBUN5dcQULT1t7zRWmjEVzcTfEF2mt6kQCAgxRZDXo')).toEqual({
    host: '192.0.2.1',
    port: 99,
  });
  expect(read('/dns4/relay.example.com/tcp/99')).toEqual({ host: 'relay.example.com', port: 99 });
});

test('anything else is a config error that quotes the text', () => {
  for (const text of ['', 'a b', '192.0.2', '192.0.2.1:0', '192.0.2.1:x', '/ip4/192.0.2.1/udp/1', '/nonsense', ':99']) {
    expect(() => parseRelayAddress(text, 1), text).toThrow(expect.objectContaining({ code: 'config' }));
  }
});

test('an advertised address is an IP address', () => {
  expect(parseAdvertised('203.0.113.7', 20_006)).toEqual({ host: '203.0.113.7', port: 20_006 });
  expect(() => parseAdvertised('relay.example.com', 1)).toThrow(expect.objectContaining({ code: 'config' }));
});
