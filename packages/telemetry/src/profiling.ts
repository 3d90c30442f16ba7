import { Session } from 'node:inspector/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { getHeapSnapshot } from 'node:v8';
import type { AdminRequest, AdminRoute } from './admin-route.ts';
import { DEFAULT_PROFILE_SECONDS, MAX_PROFILE_SECONDS } from './options.ts';

/**
 * `/debug/heap` (a heap snapshot: stops the process for seconds, holds every secret in memory) and `/debug/cpu?seconds=` (a CPU
 * profile), both for Chrome DevTools. One at a time.
 */
export function profilingRoutes(): readonly AdminRoute[] {
  let busy = false;
  const exclusive =
    (run: AdminRoute['handle']): AdminRoute['handle'] =>
    async (request) => {
      if (busy) return { status: 429, body: { error: 'a profile is being taken' } };
      busy = true;
      try {
        return await run(request);
      } finally {
        busy = false;
      }
    };
  return [
    {
      path: '/debug/heap',
      handle: exclusive(async () => ({
        type: 'application/octet-stream',
        body: getHeapSnapshot(),
        fileName: 'edgemesh.heapsnapshot',
      })),
    },
    { path: '/debug/cpu', handle: exclusive(cpuProfile) },
  ];
}

async function cpuProfile({ query, signal }: AdminRequest) {
  const asked = query.get('seconds') ?? String(DEFAULT_PROFILE_SECONDS);
  const seconds = Number(asked);
  if (!(seconds > 0 && seconds <= MAX_PROFILE_SECONDS)) {
    return {
      status: 400,
      body: {
        error: `seconds: expected a number up to ${MAX_PROFILE_SECONDS}, found ${JSON.stringify(asked.slice(0, 20))}`,
      },
    };
  }
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.start');
    // A client that hangs up early gets nothing, and the profiler must not run on for it.
    await wait(seconds * 1000, undefined, { signal }).catch(() => undefined);
    const { profile } = await session.post('Profiler.stop');
    return { body: JSON.stringify(profile), fileName: 'edgemesh.cpuprofile' };
  } finally {
    session.disconnect();
  }
}
