import { createKubeApi, createMetaServer, type KubeApi } from '@edgemesh/testkit/kube';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createDiscovery, type Discovery } from '../catalog/index.ts';
import { endpoints, service, slice } from '../catalog/test-objects.ts';
import { createKubernetesSource } from './index.ts';
import { eventually } from './test-until.ts';

const fast = {
  metaRelistMs: { min: 20, max: 40 },
  probeMs: { min: 5, max: 10 },
  secondLookMs: 10,
  relistMs: 100_000,
  backoff: { initialMs: 2, maxMs: 10 },
};
const NAMES = ['a', 'b', 'c'] as const;
const SLICES = 'EndpointSlice.discovery.k8s.io';

/** What the catalog should say, from the API's own objects. */
function expected(api: KubeApi, backends: 'Endpoints' | typeof SLICES): string {
  const services = api.list('Service').map(({ metadata, spec }) => {
    const { ports } = spec as { ports: { port: number }[] };
    const owned = api.list(backends).filter((object) => object.metadata.name === metadata.name);
    return `${metadata.name}:${ports[0]?.port}:${owned.map((object) => addressesOf(object as never)).join()}`;
  });
  return services.sort().join(' ');
}
function addressesOf(object: {
  endpoints?: { addresses: string[] }[];
  subsets?: { addresses: { ip: string }[] }[];
}): string {
  return (object.endpoints?.[0]?.addresses[0] ?? object.subsets?.[0]?.addresses[0]?.ip) as string;
}
function seen(discovery: Discovery): string {
  const { services, endpoints: all } = discovery.current;
  const lines = [...services.values()].map(({ id, name, ports }) => {
    const addresses = (all.get(id) ?? []).map(({ address }) => address);
    return `${name}:${ports[0]?.port}:${addresses.join()}`;
  });
  return lines.sort().join(' ');
}

const change = fc.record({
  name: fc.constantFrom(...NAMES),
  port: fc.integer({ min: 1, max: 9 }),
  what: fc.constantFrom('service', 'service', 'backends', 'backends', 'drop-service', 'drop-backends'),
});
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function apply(api: KubeApi, backends: 'Endpoints' | typeof SLICES, { name, port, what }: Change): void {
  const address = [`10.0.0.${port}`];
  if (what === 'service') api.apply(service(name, { clusterIP: undefined, ports: [{ port }] }));
  else if (what === 'drop-service') api.remove('Service', 'shop', name);
  else if (what === 'drop-backends') api.remove(backends, 'shop', name);
  else api.apply(backends === 'Endpoints' ? endpoints(name, address) : slice(name, name, address));
}
const steps = <T extends string>(...faults: T[]) =>
  fc.array(fc.oneof({ weight: 3, arbitrary: change }, fc.constantFrom(...faults), fc.constant('wait' as const)), {
    minLength: 5,
    maxLength: 25,
  });
const turn = () => new Promise((resolve) => setTimeout(resolve, 8));

it('whatever happens to the API server and its watches, the catalog ends where the cluster is', async () => {
  const faults = ['drop', 'cut', 'end', 'compact', 'refuse', 'error', 'expire'] as const;
  await fc.assert(
    fc.asyncProperty(steps(...faults), async (plan) => {
      await using api = await createKubeApi();
      const connection = { server: api.url };
      const source = createKubernetesSource({ mode: 'apiserver', connection, pageLimit: 2, ...fast });
      await using discovery = await createDiscovery({ sources: [source], publishWindowMs: 0 });
      for (const step of plan) {
        if (typeof step === 'object') apply(api, SLICES, step);
        else if (step === 'drop') api.dropWatches();
        else if (step === 'cut') api.cutWatches();
        else if (step === 'end') api.endWatches();
        else if (step === 'compact') api.compact();
        else if (step === 'error') api.faults.fail(500);
        else if (step === 'expire') api.expireContinueTokens();
        else if (step === 'refuse') await api.refuseConnections();
        else await turn();
      }
      await api.acceptConnections();
      const want = expected(api, SLICES);
      await eventually(
        () => seen(discovery),
        (now) => now === want,
      );
      expect(seen(discovery)).toBe(want);
    }),
    { numRuns: 15 },
  );
}, 60_000);

it('whatever happens between the edge and the cloud, the catalog ends where the cluster is', async () => {
  const edge = {
    stallMs: 15,
    noticeMs: 3,
    backoffMs: 5,
    cloudcoreStartMs: 5,
    edgecoreStartMs: 3,
    flushMs: 3,
    syncLoopMs: 5,
  };
  const faults = ['drop', 'cut', 'back', 'restart-cloud', 'restart-edge'] as const;
  await fc.assert(
    fc.asyncProperty(steps(...faults), async (plan) => {
      await using cloud = await createKubeApi();
      await using meta = await createMetaServer({ ...edge, cloud });
      const connection = { server: meta.url };
      const source = createKubernetesSource({ mode: 'metaserver', connection, pageLimit: 2, ...fast });
      await using discovery = await createDiscovery({ sources: [source], publishWindowMs: 0 });
      for (const step of plan) {
        if (typeof step === 'object') apply(cloud, 'Endpoints', step);
        else if (step === 'drop') meta.dropWatches();
        else if (step === 'cut') meta.disconnect();
        else if (step === 'back') await meta.reconnect();
        else if (step === 'restart-edge') await meta.restartEdgecore();
        else if (step === 'restart-cloud') {
          meta.stopCloudcore();
          meta.cloudcore.start();
        } else await turn();
      }
      await meta.reconnect();
      const want = expected(cloud, 'Endpoints');
      await eventually(
        () => seen(discovery),
        (now) => now === want,
      );
      expect(meta.cloudcore.downBecause ?? 'stopped').toBe('stopped');
    }),
    { numRuns: 15 },
  );
}, 60_000);
