import { expect, it } from 'vitest';
import { createKubeApi, createMetaServer } from '../index.ts';
import { createWireClient } from '../wire-client.ts';

it('answers online lists like the API server and offline lists from what watches brought', async () => {
  await using cloud = await createKubeApi();
  for (const name of ['a', 'b'])
    cloud.apply({ apiVersion: 'v1', kind: 'Service', metadata: { name }, spec: { ports: [{ port: 80 }] } });
  await using meta = await createMetaServer({ cloud, stallMs: 20 });
  const client = createWireClient(meta.url);
  const online = await client.get('/api/v1/services');
  expect(online.names).toEqual(['a', 'b']);
  const watch = await client.watch('/api/v1/services?watch=1');
  expect(await watch.take(1)).toEqual(['ADDED b']);
  meta.disconnect();
  const offline = await client.get('/api/v1/services');
  expect(offline.body.metadata).toEqual({ resourceVersion: '1002', selfLink: '/core/v1/services/null/null' });
});
