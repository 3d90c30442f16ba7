import {
  createKubeApi,
  createMetaServer,
  type KubeApi,
  type KubeApiOptions,
  type MetaServer,
  type MetaServerOptions,
} from '../index.ts';
import { createWireClient, type WireClient } from '../wire-client.ts';

/** A cluster, an edge in front of it and a client of each; for the tests of the metaServer fake. */
export interface EdgeFixture extends AsyncDisposable {
  readonly cloud: KubeApi;
  readonly meta: MetaServer;
  readonly edge: WireClient;
  readonly api: WireClient;
  /** Applies a ConfigMap; its revision. */
  put(name: string, labels?: Record<string, string>): string;
  remove(name: string): void;
}

/** Times are short; those a test is about are given. */
export async function createEdgeFixture(
  options: Omit<Partial<MetaServerOptions>, 'cloud'> = {},
  cloudOptions: KubeApiOptions = {},
): Promise<EdgeFixture> {
  const cloud = await createKubeApi({ managedFields: false, ...cloudOptions });
  const short = {
    stallMs: 30,
    noticeMs: 5,
    backoffMs: 10,
    cloudcoreStartMs: 10,
    edgecoreStartMs: 5,
    flushMs: 5,
    syncLoopMs: 10,
  };
  const meta = await createMetaServer({ ...short, ...options, cloud });
  return {
    cloud,
    meta,
    edge: createWireClient(meta.url),
    api: createWireClient(cloud.url),
    put(name, labels = {}) {
      const data = { after: cloud.resourceVersion };
      const object = cloud.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, labels }, data });
      return object.metadata.resourceVersion as string;
    },
    remove: (name) => void cloud.remove('ConfigMap', 'default', name),
    async [Symbol.asyncDispose]() {
      await meta[Symbol.asyncDispose]();
      await cloud[Symbol.asyncDispose]();
    },
  };
}

/** Path of all ConfigMaps. */
export const maps = '/api/v1/configmaps';
/** A watch of all ConfigMaps. */
export const watchMaps = `${maps}?watch=1`;
