import { describe, expect, it } from 'vitest';
import { normaliseObject } from './object.ts';

const pod = (spec: object) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web-0', namespace: 'shop' }, spec });
const specOf = (spec: object) => normaliseObject(pod(spec)).value?.spec;

describe('a Pod as it is kept', () => {
  it('has its place and the ports of its containers, and nothing else', () => {
    expect(
      specOf({
        nodeName: 'edge-1',
        volumes: [{}],
        containers: [{ name: 'web', image: 'nginx', env: [], ports: [{ name: 'http', containerPort: 8080 }] }],
      }),
    ).toEqual({
      nodeName: 'edge-1',
      containers: [{ name: 'web', ports: [{ name: 'http', containerPort: 8080 }] }],
    });
  });

  it('has the named ports of sidecars, not those of containers that run once at the start', () => {
    const ports = [{ name: 'metrics', containerPort: 9090 }];
    expect(
      specOf({
        containers: [{ name: 'web' }],
        initContainers: [
          { name: 'proxy', image: 'envoy', restartPolicy: 'Always', ports },
          { name: 'migrate', ports },
          'not a container',
        ],
      }),
    ).toEqual({
      containers: [{ name: 'web' }],
      initContainers: [{ name: 'proxy', restartPolicy: 'Always', ports }],
    });
  });
});
