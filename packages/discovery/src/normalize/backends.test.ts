import type { Endpoint, KubeObject } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normaliseEndpointSlice } from './endpoint-slice.ts';
import { normaliseEndpoints } from './endpoints.ts';
import { mergeEndpoints } from './merge.ts';

function slice(name: string, fields: Record<string, unknown>, label: string | null = 'web'): KubeObject {
  const labels: Record<string, string> = label === null ? {} : { 'kubernetes.io/service-name': label };
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace: 'shop', name, labels },
    addressType: 'IPv4',
    ...fields,
  };
}

describe('normaliseEndpointSlice', () => {
  it('binds a slice to its Service by label and reads conditions as the API defines them', () => {
    const { value, problems } = normaliseEndpointSlice(
      slice('web-1', {
        ports: [{ name: 'http', port: 8080, protocol: 'TCP', appProtocol: 'http' }],
        endpoints: [
          { addresses: ['10.0.0.1'] },
          { addresses: ['10.0.0.2'], conditions: { ready: false } },
          { addresses: ['10.0.0.3'], conditions: { ready: false, serving: true, terminating: true } },
          {
            addresses: ['10.0.0.4'],
            nodeName: 'edge-1',
            hostname: 'web-0',
            zone: 'z1',
            hints: { forZones: [{ name: 'z2' }, { name: 'z1' }], forNodes: [{ name: 'edge-1' }] },
            targetRef: { kind: 'Pod', name: 'web-0', uid: 'p1' },
          },
        ],
      }),
    );
    expect(problems).toEqual([]);
    expect(value?.service).toBe('shop/web');
    const flags = value?.endpoints.map(({ ready, serving, terminating }) => [ready, serving, terminating]);
    expect(flags?.slice(0, 3)).toEqual([
      [true, true, false],
      [false, false, false],
      [false, true, true],
    ]);
    expect(value?.endpoints[3]).toEqual({
      address: '10.0.0.4',
      port: 8080,
      protocol: 'TCP',
      portName: 'http',
      nodeName: 'edge-1',
      hostname: 'web-0',
      zone: 'z1',
      hintZones: ['z1', 'z2'],
      hintNodes: ['edge-1'],
      ready: true,
      serving: true,
      terminating: false,
      appProtocol: 'http',
      targetRef: { kind: 'Pod', namespace: 'shop', name: 'web-0' },
    });
  });

  it('leaves slices without the service-name label alone', () => {
    expect(normaliseEndpointSlice(slice('x', {}, null))).toEqual({ problems: [] });
  });

  it('accepts names in FQDN slices only', () => {
    const fields = { ports: [{ port: 443 }], endpoints: [{ addresses: ['Db.Example.com.', '10.0.0.1'] }] };
    const fqdn = normaliseEndpointSlice(slice('x', { ...fields, addressType: 'FQDN' }));
    expect(fqdn.value?.endpoints.map(({ address }) => address)).toEqual(['db.example.com', '10.0.0.1']);
    const v4 = normaliseEndpointSlice(slice('x', fields));
    expect(v4.value?.endpoints.map(({ address }) => address)).toEqual(['10.0.0.1']);
    expect(v4.problems[0]?.object?.field).toBe('endpoints[0].addresses[0]');
    const v6 = normaliseEndpointSlice(slice('x', { ...fields, addressType: 'IPv6' }));
    expect(v6.value?.endpoints).toEqual([]);
  });

  it('keeps the addresses of a headless Service without ports, as port 0', () => {
    const { value } = normaliseEndpointSlice(slice('x', { endpoints: [{ addresses: ['10.0.0.1'] }] }));
    expect(value?.endpoints).toMatchObject([{ address: '10.0.0.1', port: 0, portName: '' }]);
  });

  it('stops at the limit of endpoints and says so', () => {
    const { value, problems } = normaliseEndpointSlice(
      slice('x', {
        ports: Array.from({ length: 100 }, (_, i) => ({ name: `p${i}`, port: i + 1 })),
        endpoints: Array.from({ length: 1000 }, (_, i) => ({ addresses: [`10.0.${i >> 8}.${i & 255}`] })),
      }),
    );
    expect(value?.endpoints).toHaveLength(20_000);
    expect(problems).toHaveLength(1);
  });
});

describe('normaliseEndpoints', () => {
  it('reads subsets with the node of each address and marks notReadyAddresses as not ready', () => {
    const { value, problems } = normaliseEndpoints({
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: { namespace: 'shop', name: 'web' },
      subsets: [
        {
          addresses: [{ ip: '10.0.0.1', nodeName: 'edge-1', hostname: 'web-0', targetRef: { kind: 'Pod', name: 'a' } }],
          notReadyAddresses: [{ ip: '10.0.0.2', nodeName: 'edge-2' }, { ip: 'bogus' }],
          ports: [
            { name: 'http', port: 8080 },
            { name: 'dns', port: 53, protocol: 'UDP' },
          ],
        },
      ],
    });
    expect(value?.endpoints.map((e) => [e.address, e.port, e.protocol, e.nodeName, e.ready, e.serving])).toEqual([
      ['10.0.0.1', 8080, 'TCP', 'edge-1', true, true],
      ['10.0.0.1', 53, 'UDP', 'edge-1', true, true],
      ['10.0.0.2', 8080, 'TCP', 'edge-2', false, false],
      ['10.0.0.2', 53, 'UDP', 'edge-2', false, false],
    ]);
    expect(problems.map(({ object }) => object?.field)).toEqual(['subsets[0].notReadyAddresses[1].ip']);
  });
});

describe('mergeEndpoints', () => {
  const endpoint = (fields: Partial<Endpoint>): Endpoint => ({
    address: '10.0.0.1',
    port: 80,
    protocol: 'TCP',
    portName: '',
    ready: true,
    serving: true,
    terminating: false,
    ...fields,
  });

  it('keeps one entry per endpoint, the healthier one', () => {
    const merged = mergeEndpoints([
      { service: 'a/b', source: 's1', endpoints: [endpoint({ ready: false, serving: false })] },
      { service: 'a/b', source: 's2', endpoints: [endpoint({})] },
    ]);
    expect(merged).toEqual([endpoint({})]);
    const reversed = mergeEndpoints([
      { service: 'a/b', source: 's1', endpoints: [endpoint({})] },
      { service: 'a/b', source: 's2', endpoints: [endpoint({ terminating: true })] },
    ]);
    expect(reversed).toEqual([endpoint({})]);
  });

  it('keeps the same address on two nodes apart, and two port names on one target port', () => {
    const endpoints = [
      endpoint({ nodeName: 'b' }),
      endpoint({ nodeName: 'a' }),
      endpoint({ nodeName: 'a', portName: 'alt' }),
    ];
    const merged = mergeEndpoints([{ service: 'a/b', source: 's', endpoints }]);
    expect(merged.map(({ nodeName, portName }) => [nodeName, portName])).toEqual([
      ['a', ''],
      ['b', ''],
      ['a', 'alt'],
    ]);
  });

  it('gives the same result for any order of slices and endpoints', () => {
    const arbitrary = fc.record({
      address: fc.constantFrom('10.0.0.1', '10.0.0.2', 'fd00::1'),
      port: fc.constantFrom(80, 81),
      portName: fc.constantFrom('', 'x'),
      nodeName: fc.constantFrom('a', 'b'),
      ready: fc.boolean(),
      zone: fc.constantFrom('z1', 'z2'),
    });
    const slices = fc.uniqueArray(fc.tuple(fc.string(), fc.array(arbitrary, { maxLength: 5 })), {
      selector: ([name]) => name,
      maxLength: 5,
    });
    fc.assert(
      fc.property(slices, fc.integer(), (list, seed) => {
        const backends = list.map(([source, fields]) => ({
          service: 'a/b' as const,
          source,
          endpoints: mergeEndpoints([{ service: 'a/b', source, endpoints: fields.map(endpoint) }]),
        }));
        const shuffled = backends
          .map((value, i) => ({ value, rank: Math.imul(i + 1, seed) }))
          .sort((x, y) => x.rank - y.rank);
        expect(mergeEndpoints(shuffled.map(({ value }) => value))).toEqual(mergeEndpoints(backends));
      }),
    );
  });
});
