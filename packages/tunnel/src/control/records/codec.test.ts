import { generateKeyPair } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TunnelError } from '../../errors.ts';
import type { NodeRecord } from '../../types.ts';
import { decodeRecord, encodeRecord, isNodeName, openRecord, parseSocketAddress, signRecord } from './codec.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';

const key = await generateKeyPair('Ed25519');
const record: NodeRecord = {
  nodeName: 'edge-1.site',
  peerId: peerIdFromPrivateKey(key).toString(),
  sequence: 1_760_000_000_000,
  lanAddresses: [{ host: '192.168.1.7', port: 20_006 }],
  publicAddresses: [{ host: '2001:db8::1', port: 20_006 }],
  relays: [peerIdFromPrivateKey(await generateKeyPair('Ed25519')).toString()],
  capabilities: ['relay'],
};

test('a signed record read back is the record', async () => {
  const { envelope } = await signRecord(record, key);
  expect((await openRecord(envelope, 8_192)).record).toEqual(record);
});

test('a record that is changed in any single byte is refused', async () => {
  const { envelope } = await signRecord(record, key);
  await fc.assert(
    fc.asyncProperty(fc.nat(envelope.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const forged = Uint8Array.from(envelope);
      forged[at] = (forged[at] as number) ^ flip;
      await expect(openRecord(forged, 8_192)).rejects.toBeInstanceOf(TunnelError);
    }),
    { numRuns: 300 },
  );
});

test('a record signed by another key than its own is refused', async () => {
  const { envelope } = await signRecord(record, await generateKeyPair('Ed25519'));
  await expect(openRecord(envelope, 8_192)).rejects.toMatchObject({ code: 'identity' });
});

test('a signature made for another purpose is worth nothing', async () => {
  const ours = { domain: 'edgemesh-node-record', payloadType: Uint8Array.of(1) };
  const other = { domain: 'libp2p-peer-record', payloadType: Uint8Array.of(1) };
  const sealed = await sealEnvelope(key, other, encodeRecord(record));
  await expect(openEnvelope(ours, sealed)).rejects.toMatchObject({ code: 'identity' });
  const otherType = { ...other, payloadType: Uint8Array.of(2) };
  await expect(openEnvelope(otherType, sealed)).rejects.toMatchObject({ code: 'protocol' });
});

test('a record beyond the size limit is refused before anything is verified', async () => {
  const { envelope } = await signRecord(record, key);
  await expect(openRecord(envelope, envelope.length - 1)).rejects.toMatchObject({ code: 'limit' });
});

test('random bytes and random JSON never throw anything but our error', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
      await expect(openRecord(bytes, 8_192)).rejects.toBeInstanceOf(TunnelError);
    }),
  );
  fc.assert(
    fc.property(fc.json(), (text) => {
      expect(() => decodeRecord(Buffer.from(text))).toThrow(TunnelError);
    }),
  );
});

test('each field is validated', () => {
  const good = JSON.parse(Buffer.from(encodeRecord(record)).toString());
  const bad: Record<string, unknown[]> = {
    name: ['', 'a/b', '-a', 'x'.repeat(254), 5],
    peer: ['', 'short', 'x'.repeat(200)],
    seq: [-1, 1.5, 2 ** 53, '1'],
    lan: [['1.2.3.4'], ['1.2.3.4:0'], ['1.2.3.4:70000'], ['host:1'], [1], 'x', new Array(65).fill('1.2.3.4:5')],
    relays: [['x'], {}, new Array(17).fill(record.peerId)],
    caps: [['Upper'], [''], null],
    v: [0, 2],
  };
  for (const [field, values] of Object.entries(bad)) {
    for (const value of values) {
      const bytes = Buffer.from(JSON.stringify({ ...good, [field]: value }));
      expect(() => decodeRecord(bytes), `${field} = ${JSON.stringify(value)}`).toThrow(TunnelError);
    }
  }
});

test('addresses and node names are read strictly', () => {
  expect(parseSocketAddress('[fd00::0:1]:80')).toEqual({ host: 'fd00::1', port: 80 });
  for (const text of ['1.2.3.4', '[1.2.3.4]:5', 'fd00::1:80', '1.2.3.256:5', '1.2.3.4:65536', ' 1.2.3.4:5']) {
    expect(parseSocketAddress(text)).toBeUndefined();
  }
  expect(['a', 'node-1', 'Node_1.example.com'].every(isNodeName)).toBe(true);
  expect(['', '.', 'a b', '../x', 'ä'].some(isNodeName)).toBe(false);
});
