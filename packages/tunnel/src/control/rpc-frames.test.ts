import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TunnelError } from '../errors.ts';
import { decodeHello, encodeHello } from './messages.ts';
import { decodeRequest, decodeResponse, encodeFailure, encodeRequest, encodeSuccess } from './rpc-frames.ts';

const method = fc.stringMatching(/^[a-z][a-z0-9.-]{0,30}$/);

test('a request read back is the request', () => {
  fc.assert(
    fc.property(method, fc.uint8Array(), (name, body) => {
      const decoded = decodeRequest(encodeRequest({ method: name, body }));
      expect(decoded.method).toBe(name);
      expect(Buffer.compare(decoded.body, body)).toBe(0);
    }),
  );
});

test('a success carries its body, a failure its code and message', () => {
  expect(Buffer.from(decodeResponse(encodeSuccess(Uint8Array.of(1, 2))))).toEqual(Buffer.of(1, 2));
  expect(() => decodeResponse(encodeFailure('limit', 'too many'))).toThrow(new TunnelError('limit', 'too many'));
  expect(() => decodeResponse(encodeFailure('refused', 'x'.repeat(9_999)))).toThrow(/^x{500}$/);
});

test('any other bytes are refused with a TunnelError and nothing else', () => {
  const onlyOurs = (run: () => unknown) => {
    try {
      run();
    } catch (error) {
      expect(error).toBeInstanceOf(TunnelError);
    }
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      onlyOurs(() => decodeRequest(bytes));
      onlyOurs(() => decodeResponse(bytes));
      onlyOurs(() => decodeHello(bytes));
    }),
  );
  fc.assert(
    fc.property(fc.json(), (text) => {
      onlyOurs(() => decodeHello(Buffer.from(text)));
    }),
  );
});

test('a greeting read back is the greeting', () => {
  const hello = { record: Uint8Array.of(1, 2, 3), relay: true, observed: '1.2.3.4:5', sequence: 7 };
  const decoded = decodeHello(encodeHello(hello));
  expect({ ...decoded, record: Uint8Array.from(decoded.record) }).toEqual(hello);
});
