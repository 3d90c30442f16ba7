import { DiscoveryError } from '../../errors.ts';
import { sameJson } from '../../normalize/equal.ts';
import { STATUS_CONFLICT_TRIES } from '../../options.ts';
import type { ObjectClient } from '../object-client.ts';
import { pathOf, type ResourceSpec } from '../resources.ts';
import { mergeStatus } from './merge-status.ts';
import { isStatus } from './reports.ts';
import type { WantedStatus } from './types.ts';

/** What one write needs. */
export interface WriteContext {
  readonly client: ObjectClient;
  readonly resources: readonly ResourceSpec[];
  readonly controllerName: string;
  /** RFC 3339, for conditions that change. */
  readonly now: string;
  readonly signal: AbortSignal;
}

/** `same`: it is there already. `gone`: the object is not, or is another one of that name. */
export type WriteResult = 'written' | 'same' | 'gone';

/**
 * Reads an object and patches its status subresource where something is missing. The patch names the revision that was
 * read: an object that changed in between is read again.
 */
export async function writeStatus(wanted: WantedStatus, context: WriteContext): Promise<WriteResult> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await writeOnce(wanted, context);
    } catch (error) {
      if (isStatus(error, 404)) return 'gone';
      if (!isStatus(error, 409) || attempt === STATUS_CONFLICT_TRIES) throw error;
    }
  }
}

async function writeOnce(wanted: WantedStatus, context: WriteContext): Promise<WriteResult> {
  const { client, controllerName, now, signal } = context;
  const path = objectPath(wanted, context.resources);
  const object = await client.read(path, signal);
  const { uid, resourceVersion, namespace } = object.metadata;
  if (wanted.uid !== undefined && uid !== wanted.uid) return 'gone';
  const status = mergeStatus(object.status, wanted.status, { controllerName, now, namespace });
  if (sameJson(object.status ?? {}, status)) return 'same';
  await client.patch(`${path}/status`, { metadata: { resourceVersion }, status }, signal);
  return 'written';
}

function objectPath({ apiVersion, kind, namespace, name }: WantedStatus, resources: readonly ResourceSpec[]): string {
  const slash = apiVersion.indexOf('/');
  const group = slash < 0 ? '' : apiVersion.slice(0, slash);
  const resource = resources.find((known) => known.kind === kind && known.group === group);
  if (resource === undefined) throw new DiscoveryError('config', `statuses of ${kind} ${apiVersion} cannot be written`);
  const scoped = { ...resource, ...(namespace !== undefined && { scope: { namespace } }) };
  return `${pathOf(scoped, apiVersion.slice(slash + 1))}/${encodeURIComponent(name)}`;
}
