import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeMdns, encodeAnnouncement, encodeQuery, serviceName } from './mdns-message.ts';

const service = serviceName('00112233445566778899aabbccddeeff0011');
const announcement = {
  peerId: '12D3KooWJeWBUN5dcQULT1t7zRWmjEVzcTfEF2mt6kQCAgxRZDXo',
  instance: '0123456789abcdef',
  address: { host: '192.168.1.7', port: 20_006 },
};

test('an announcement read back gives peer and address', () => {
  const decoded = decodeMdns(encodeAnnouncement(service, announcement), service);
  const { peerId, address } = announcement;
  expect(decoded).toEqual({ type: 'answer', sightings: [{ peerId, address, leaving: false }] });
});

test('a goodbye is recognised by its time to live', () => {
  const decoded = decodeMdns(encodeAnnouncement(service, { ...announcement, leaving: true }), service);
  expect(decoded).toMatchObject({ sightings: [{ leaving: true }] });
});

test('queries and announcements of another mesh are nobody we know', () => {
  const other = serviceName('ff'.repeat(16));
  expect(decodeMdns(encodeQuery(service), service)).toEqual({ type: 'query' });
  expect(decodeMdns(encodeQuery(service), other)).toBeUndefined();
  expect(decodeMdns(encodeAnnouncement(service, announcement), other)).toBeUndefined();
});

test('the service name fits DNS labels and carries only a part of the public tag', () => {
  const labels = service.split('.');
  expect(labels.every((label) => label.length <= 63)).toBe(true);
  expect(labels[0]).toBe('_p2p-00112233445566778899aabbccddeeff');
});

test('random bytes never throw', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void decodeMdns(bytes, service)));
});

test('a damaged announcement never throws and never yields an address without port or host', () => {
  const whole = encodeAnnouncement(service, announcement);
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, value, cut) => {
      const bytes = Uint8Array.from(whole.subarray(0, Math.max(cut, 1)));
      if (at < bytes.length) bytes[at] = value;
      const decoded = decodeMdns(bytes, service);
      if (decoded?.type !== 'answer') return;
      for (const { address } of decoded.sightings) expect(address.port).toBeGreaterThan(0);
    }),
    { numRuns: 500 },
  );
});

test('TXT records with anything but a TCP dnsaddr are passed over', () => {
  const texts = [
    'dnsaddr=',
    'dnsaddr=/ip4/1.2.3.4/udp/1/p2p/x',
    'dnsaddr=/ip4/1.2.3.4/tcp/1',
    'hello',
    'dnsaddr=/dns/x/tcp/1',
  ];
  const packet = dnsPacket.encode({
    type: 'response',
    answers: [{ type: 'TXT', name: `x.${service}`, ttl: 1, data: texts }],
  });
  expect(decodeMdns(packet, service)).toBeUndefined();
});
