import type { Clock } from '@edgemesh/core';
import type { ApiAnswer, ApiRequest, RequestInfo } from './request.ts';
import { internalError, tooManyRequests, unavailable } from './status.ts';

/** Which requests a fault hits: all fields that are given must agree. */
export interface FaultMatch {
  readonly verbs?: readonly RequestInfo['verb'][];
  readonly resource?: string;
  readonly group?: string;
  /** Part of path and query. */
  readonly urlIncludes?: string;
}

export interface FaultOptions {
  /** Requests it hits before it wears off; default 1 for failures, unlimited for delays and hangs. */
  readonly times?: number;
  readonly match?: FaultMatch;
}

/** Faults on request. Each call returns the way to end the fault early. */
export interface Faults {
  /** Answers with an error: 429 and 503 with `Retry-After`, others as a plain failure. */
  fail(code: number, options?: FaultOptions & { readonly retryAfterSeconds?: number }): () => void;
  /** Answers only after a while. */
  delay(ms: number, options?: FaultOptions): () => void;
  /** Never answers; the connection stays open. Ending the fault answers those who still wait. */
  hang(options?: FaultOptions): () => void;
  /** Ends all faults. */
  clear(): void;
}

type Effect = (request: ApiRequest) => Promise<ApiAnswer | undefined>;

interface Fault {
  readonly match: FaultMatch;
  readonly effect: Effect;
  left: number;
}

/** The faults and the check that the API makes before it answers. */
export interface FaultInjector extends Faults {
  /** Applies what matches, in the order given; an answer replaces the real one. */
  apply(request: ApiRequest, info: RequestInfo | undefined): Promise<ApiAnswer | undefined>;
}

export function createFaultInjector(clock: Clock): FaultInjector {
  const faults = new Set<Fault>();
  const releases = new Set<() => void>();
  const add = (effect: Effect, options: FaultOptions | undefined, times: number) => {
    const fault: Fault = { match: options?.match ?? {}, effect, left: options?.times ?? times };
    faults.add(fault);
    return () => void faults.delete(fault);
  };
  return {
    fail: (code, options) => add(async () => errorAnswer(code, options?.retryAfterSeconds ?? 1), options, 1),
    delay: (ms, options) => add((request) => pause(clock, ms, request.signal), options, Number.POSITIVE_INFINITY),
    hang(options) {
      const held = new Set<() => void>();
      const remove = add(
        (request) => new Promise((resolve) => hold(held, request.signal, () => resolve(undefined))),
        options,
        Number.POSITIVE_INFINITY,
      );
      const release = () => {
        remove();
        releases.delete(release);
        for (const run of held) run();
      };
      releases.add(release);
      return release;
    },
    clear() {
      faults.clear();
      for (const release of [...releases]) release();
    },
    async apply(request, info) {
      for (const fault of [...faults]) {
        if (fault.left <= 0 || !hits(fault.match, request, info)) continue;
        if (--fault.left <= 0) faults.delete(fault);
        const answer = await fault.effect(request);
        if (answer) return answer;
      }
      return undefined;
    },
  };
}

function hold(held: Set<() => void>, signal: AbortSignal, run: () => void): void {
  const once = () => {
    held.delete(once);
    run();
  };
  held.add(once);
  signal.addEventListener('abort', once, { once: true });
}

/** Waits on the clock, or until the client is gone. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(undefined);
    const done = () => {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve(undefined);
    };
    const timer = clock.after(ms, done);
    signal.addEventListener('abort', done, { once: true });
  });
}

function hits(match: FaultMatch, request: ApiRequest, info: RequestInfo | undefined): boolean {
  return (
    (match.verbs === undefined || (info !== undefined && match.verbs.includes(info.verb))) &&
    (match.resource === undefined || info?.resource === match.resource) &&
    (match.group === undefined || info?.group === match.group) &&
    (match.urlIncludes === undefined || request.url.includes(match.urlIncludes))
  );
}

function errorAnswer(code: number, retryAfterSeconds: number): ApiAnswer {
  const error =
    code === 429
      ? tooManyRequests(retryAfterSeconds)
      : code === 503
        ? unavailable('the server is currently unable to handle the request', retryAfterSeconds)
        : internalError('injected fault');
  const retry: Record<string, string> =
    code === 429 || code === 503 ? { 'retry-after': String(retryAfterSeconds) } : {};
  return {
    status: code,
    headers: { 'content-type': 'application/json', ...retry },
    body: JSON.stringify({ ...error.status, code }),
  };
}
