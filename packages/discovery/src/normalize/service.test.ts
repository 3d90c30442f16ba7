import type { KubeObject } from '@edgemesh/core';
import { describe, expect, it } from 'vitest';
import { normaliseService } from './service.ts';

function service(spec: unknown, extra: Record<string, unknown> = {}): KubeObject {
  return { apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'shop', name: 'web', uid: 'u1' }, spec, ...extra };
}

describe('normaliseService', () => {
  it('fills in every default of a minimal Service', () => {
    const { value, problems } = normaliseService(service({ clusterIP: '10.96.0.10', ports: [{ port: 80 }] }));
    expect(problems).toEqual([]);
    expect(value).toEqual({
      id: 'shop/web',
      namespace: 'shop',
      name: 'web',
      uid: 'u1',
      labels: {},
      annotations: {},
      type: 'ClusterIP',
      clusterIPs: ['10.96.0.10'],
      headless: false,
      externalIPs: [],
      loadBalancerIngress: [],
      loadBalancerSourceRanges: [],
      ports: [{ name: '', protocol: 'TCP', port: 80 }],
      sessionAffinity: { type: 'None' },
      internalTrafficPolicy: 'Cluster',
      externalTrafficPolicy: 'Cluster',
      publishNotReadyAddresses: false,
      hasSelector: false,
    });
  });

  it('reads every field of a full dual-stack LoadBalancer Service', () => {
    const { value, problems } = normaliseService(
      service(
        {
          type: 'LoadBalancer',
          clusterIP: '10.96.0.10',
          clusterIPs: ['10.96.0.10', 'FD00:0::10'],
          externalIPs: ['192.0.2.1'],
          loadBalancerSourceRanges: [' 10.1.2.3/8 ', 'fd00::/8'],
          healthCheckNodePort: 30_100,
          ports: [
            { name: 'http', port: 80, targetPort: 'web', nodePort: 30_080, appProtocol: 'kubernetes.io/ws' },
            { name: 'dns', port: 53, protocol: 'UDP', targetPort: 5353 },
          ],
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
          internalTrafficPolicy: 'Local',
          externalTrafficPolicy: 'Local',
          publishNotReadyAddresses: true,
          trafficDistribution: 'PreferClose',
          selector: { app: 'web' },
        },
        { status: { loadBalancer: { ingress: [{ ip: '198.51.100.7', ipMode: 'Proxy' }, { hostname: 'x' }] } } },
      ),
    );
    expect(problems).toEqual([]);
    expect(value).toMatchObject({
      clusterIPs: ['10.96.0.10', 'fd00::10'],
      externalIPs: ['192.0.2.1'],
      loadBalancerSourceRanges: ['10.0.0.0/8', 'fd00::/8'],
      loadBalancerIngress: [{ ip: '198.51.100.7', ipMode: 'Proxy' }],
      healthCheckNodePort: 30_100,
      sessionAffinity: { type: 'ClientIP', timeoutSeconds: 60 },
      internalTrafficPolicy: 'Local',
      trafficDistribution: 'PreferClose',
      hasSelector: true,
    });
    expect(value?.ports[0]?.targetPort).toBe('web');
    expect(value?.ports[1]).toMatchObject({ protocol: 'UDP', targetPort: 5353 });
  });

  it('knows headless Services and keeps None out of their addresses', () => {
    expect(normaliseService(service({ clusterIP: 'None', clusterIPs: ['None'] })).value).toMatchObject({
      headless: true,
      clusterIPs: [],
    });
  });

  it('writes an ExternalName in lower case without its dot', () => {
    const { value } = normaliseService(service({ type: 'ExternalName', externalName: 'DB.Example.COM.' }));
    expect(value).toMatchObject({ externalName: 'db.example.com', clusterIPs: [], headless: false });
  });

  it('drops a bad port, names its field, and keeps the others', () => {
    const { value, problems } = normaliseService(
      service({ ports: [{ port: 80 }, { port: 70_000 }, { port: 81, protocol: 'DCCP' }, { port: 80 }] }),
    );
    expect(value?.ports.map(({ port }) => port)).toEqual([80]);
    expect(problems.map(({ object }) => object?.field)).toEqual([
      'spec.ports[1].port',
      'spec.ports[2].protocol',
      'spec.ports[3]',
    ]);
    expect(problems[0]).toMatchObject({
      code: 'invalid-object',
      object: { kind: 'Service', namespace: 'shop', name: 'web' },
    });
  });

  it('rejects a Service whose source ranges cannot be read, rather than open it to everybody', () => {
    const { value, problems } = normaliseService(service({ loadBalancerSourceRanges: ['10.0.0.0/33'] }));
    expect(value).toBeUndefined();
    expect(problems[0]?.object?.field).toBe('spec.loadBalancerSourceRanges[0]');
  });

  it('takes the default affinity timeout where none or a bad one is given', () => {
    const affinity = (timeoutSeconds: unknown) =>
      normaliseService(
        service({ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds } } }),
      );
    expect(affinity(undefined).value?.sessionAffinity).toEqual({ type: 'ClientIP', timeoutSeconds: 10_800 });
    expect(affinity(0).value?.sessionAffinity).toEqual({ type: 'ClientIP', timeoutSeconds: 10_800 });
    expect(affinity(0).problems).toHaveLength(1);
    expect(affinity(5).value?.sessionAffinity).toEqual({ type: 'ClientIP', timeoutSeconds: 5 });
  });
});
