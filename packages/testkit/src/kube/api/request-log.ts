import type { Clock } from '@edgemesh/core';
import type { Recorder } from './handler.ts';
import { type RequestInfo, splitUrl } from './request.ts';

/** A request that came in. */
export interface RecordedRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** What it was about; undefined for paths without a resource. */
  readonly info: RequestInfo | undefined;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Monotonic milliseconds of the clock. */
  readonly at: number;
  /** Undefined until answered. */
  readonly status: number | undefined;
}

/** A bounded log of requests, oldest first. */
export function createRequestLog(clock: Clock, limit: number) {
  const entries: RecordedRequest[] = [];
  const record: Recorder = (request, info) => {
    const { path, query } = splitUrl(request.url);
    const entry = {
      method: request.method,
      url: request.url,
      path,
      query: Object.fromEntries(query),
      info,
      headers: request.headers,
      at: clock.now(),
      status: undefined as number | undefined,
    };
    entries.push(entry);
    if (entries.length > limit) entries.shift();
    return (status) => {
      entry.status = status;
    };
  };
  return { entries: entries as readonly RecordedRequest[], record, clear: () => void entries.splice(0) };
}
