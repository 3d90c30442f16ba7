import { type ByteStream, type Datagrams, type Dialer, type Endpoint, MeshError, noMetrics } from '@edgemesh/core';
import { createFakeClock, createTestCatalog } from '@edgemesh/testkit';
import { makeEndpoint } from '@edgemesh/testkit/conformance';
import type { InboundRequest } from '@edgemesh/tunnel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createInboundPolicy } from './inbound-policy.ts';
import { testService } from './testing/catalog.ts';

const local: Dialer = {
  dial: ({ address, port }) => `tcp ${address} ${port}` as unknown as ByteStream,
  openDatagrams: ({ address, port }) => `udp ${address} ${port}` as unknown as Datagrams,
};
const request = (address: string, port: number, kind: InboundRequest['kind'] = 'tcp'): InboundRequest => ({
  peerId: 'p',
  nodeName: 'peer',
  kind,
  address,
  port,
  clientAddress: '',
});

function setup(alsoAllowed?: (request: InboundRequest) => boolean) {
  const view = createTestCatalog();
  const clock = createFakeClock();
  const options = { view, nodeName: 'me', local, metrics: noMetrics, clock };
  const policy = createInboundPolicy({ ...options, ...(alsoAllowed && { alsoAllowed }) });
  return { view, clock, policy, isOpen: (r: InboundRequest) => !(policy.openStream(r) instanceof MeshError) };
}
const mine = (address: string, port = 80, more: Partial<Endpoint> = {}) =>
  makeEndpoint(address, { nodeName: 'me', port, ...more });

describe('what peers may reach', () => {
  it('is endpoints of this node, by address, port and protocol', () => {
    const { view, policy, isOpen } = setup();
    view.put(testService('web'), [
      mine('172.17.0.2'),
      makeEndpoint('172.17.0.3', { nodeName: 'other', port: 80 }),
      mine('172.17.0.2', 53, { protocol: 'UDP' }),
    ]);
    expect(policy.openStream(request('172.17.0.2', 80))).toBe('tcp 172.17.0.2 80');
    expect(policy.openDatagrams(request('172.17.0.2', 53, 'udp'))).toBe('udp 172.17.0.2 53');
    for (const [address, port] of [
      ['172.17.0.3', 80],
      ['172.17.0.2', 81],
      ['172.17.0.2', 53],
    ] as const)
      expect(isOpen(request(address, port))).toBe(false);
    const refusal = policy.openDatagrams(request('172.17.0.2', 80, 'udp'));
    expect(refusal).toMatchObject({ code: 'forbidden', retryable: true });
    expect(policy.openDatagrams(request('172.17.0.2', 80, 'packets'))).toMatchObject({ code: 'forbidden' });
  });

  it('is an endpoint of two Services until it has left both, and for a grace period after that', () => {
    const { view, clock, isOpen } = setup();
    view.put(testService('a'), [mine('10.0.0.1')]);
    view.put(testService('b'), [mine('10.0.0.1')]);
    view.remove('default/a');
    clock.advance(3_600_000);
    expect(isOpen(request('10.0.0.1', 80))).toBe(true);
    view.put(testService('b'), []);
    clock.advance(29_999);
    expect(isOpen(request('10.0.0.1', 80))).toBe(true);
    clock.advance(1);
    expect(isOpen(request('10.0.0.1', 80))).toBe(false);
    view.put(testService('b'), [mine('10.0.0.1')]);
    expect(isOpen(request('10.0.0.1', 80))).toBe(true);
  });

  it('is what the configuration opens', () => {
    const { isOpen } = setup(({ port }) => port === 22);
    expect([isOpen(request('10.0.0.1', 22)), isOpen(request('10.0.0.1', 23))]).toEqual([true, false]);
  });

  it('ends with the policy', () => {
    const { view, policy } = setup();
    policy[Symbol.dispose]();
    expect(view.subscribers).toBe(0);
  });

  it('is after any changes what one look at the whole catalog would say', () => {
    const step = fc.record({
      service: fc.constantFrom('a', 'b', 'c'),
      hosts: fc.array(fc.record({ last: fc.integer({ min: 1, max: 3 }), here: fc.boolean() }), { maxLength: 4 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const { view, clock, isOpen } = setup();
        for (const { service, hosts } of steps) {
          view.put(
            testService(service),
            hosts.map(({ last, here }) => mine(`10.0.0.${last}`, 80, here ? {} : { nodeName: 'other' })),
          );
        }
        clock.advance(60_000);
        const expected = new Set(
          [...view.current.endpoints.values()].flat().flatMap((e) => (e.nodeName === 'me' ? [e.address] : [])),
        );
        for (const last of [1, 2, 3])
          expect(isOpen(request(`10.0.0.${last}`, 80))).toBe(expected.has(`10.0.0.${last}`));
      }),
    );
  });
});
