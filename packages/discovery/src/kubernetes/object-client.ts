import type { KubeObject } from '@edgemesh/core';
import { DiscoveryError } from '../errors.ts';
import { isFields, listOf } from '../normalize/read.ts';
import { MAX_PAGE_BYTES } from '../options.ts';
import { type ApiCall, type ApiRequestOptions, createApiRequest, parseJson, readText } from './api-request.ts';

/** Reads and writes single objects. Rejections are DiscoveryErrors; `status` 404 and 409 tell what is missing or has changed. */
export interface ObjectClient {
  read(path: string, signal: AbortSignal): Promise<KubeObject>;
  list(path: string, signal: AbortSignal): Promise<readonly KubeObject[]>;
  create(path: string, object: object, signal: AbortSignal): Promise<void>;
  /** A JSON merge patch (RFC 7386); a `metadata.resourceVersion` in it must be the present one. */
  patch(path: string, patch: object, signal: AbortSignal): Promise<void>;
  remove(path: string, signal: AbortSignal): Promise<void>;
}

/** Requests for single objects, JSON only. */
export function createObjectClient(options: ApiRequestOptions): ObjectClient {
  const request = createApiRequest(options);
  const send = (call: ApiCall): Promise<Record<string, unknown>> =>
    request(call, async (response) => {
      const body = parseJson(await readText(response, MAX_PAGE_BYTES));
      if (!isFields(body)) throw new DiscoveryError('api-protocol', 'the answer is no object', { retryable: true });
      return body;
    });
  const write = async (method: 'POST' | 'PATCH', target: string, body: object, signal: AbortSignal) => {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    await send({ method, target, headers: { 'content-type': type }, body: JSON.stringify(body), signal });
  };
  return {
    read: async (target, signal) => (await send({ method: 'GET', target, signal })) as unknown as KubeObject,
    list: async (target, signal) =>
      listOf((await send({ method: 'GET', target, signal })).items).filter(isFields) as unknown as KubeObject[],
    create: (target, object, signal) => write('POST', target, object, signal),
    patch: (target, patch, signal) => write('PATCH', target, patch, signal),
    async remove(target, signal) {
      await send({ method: 'DELETE', target, signal });
    },
  };
}
