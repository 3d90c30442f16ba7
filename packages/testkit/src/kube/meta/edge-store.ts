import { apiVersionOf } from '../api/kinds.ts';
import { type ApiObject, revisionOf } from '../api/object.ts';

/** Group, version and resource: what rows and watches of the edge go by. */
export interface Gvr {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
}

/** The rows of an edge (SQLite in KubeEdge): objects by group, version and resource, in the order of their last write. */
export interface EdgeStore {
  get(gvr: Gvr, namespace: string | undefined, name: string): ApiObject | undefined;
  put(gvr: Gvr, object: ApiObject): void;
  delete(gvr: Gvr, namespace: string | undefined, name: string): void;
  rows(gvr: Gvr): ApiObject[];
  readonly size: number;
  /** The highest revision among all rows, 0 without any. */
  readonly highestRevision: number;
}

export interface EdgeStoreOptions {
  /** Rows of one version are not seen at another. */
  readonly perVersion: boolean;
  /** Rows come in the order of their last write, not sorted. */
  readonly unsorted: boolean;
}

export function createEdgeStore(options: EdgeStoreOptions): EdgeStore {
  const tables = new Map<string, Map<string, ApiObject>>();
  const table = (gvr: Gvr) => {
    const name = `${gvr.group}/${options.perVersion ? gvr.version : ''}/${gvr.resource}`;
    const found = tables.get(name) ?? new Map<string, ApiObject>();
    tables.set(name, found);
    return found;
  };
  const keyOf = (namespace: string | undefined, name: string) => `${namespace ?? ''}/${name}`;
  const shown = (gvr: Gvr, row: ApiObject): ApiObject => ({ ...row, apiVersion: apiVersionOf(gvr.group, gvr.version) });
  return {
    get(gvr, namespace, name) {
      const row = table(gvr).get(keyOf(namespace, name));
      return row && shown(gvr, row);
    },
    put(gvr, object) {
      const key = keyOf(object.metadata.namespace, object.metadata.name);
      table(gvr).delete(key);
      table(gvr).set(key, object);
    },
    delete: (gvr, namespace, name) => void table(gvr).delete(keyOf(namespace, name)),
    rows(gvr) {
      const rows = [...table(gvr)];
      if (!options.unsorted) rows.sort(([a], [b]) => (a < b ? -1 : 1));
      return rows.map(([, row]) => shown(gvr, row));
    },
    get size() {
      let size = 0;
      for (const rows of tables.values()) size += rows.size;
      return size;
    },
    get highestRevision() {
      let highest = 0;
      for (const rows of tables.values()) for (const row of rows.values()) highest = Math.max(highest, revisionOf(row));
      return highest;
    },
  };
}
