import { readdirSync, readFileSync } from 'node:fs';
import { type Clock, type Metrics, systemClock, type Timer } from '@edgemesh/core';
import { LAG_INTERVAL_MS } from './options.ts';

/** Measures this process: memory, CPU, event loop, open files. Names follow the Prometheus client libraries. Dispose to stop. */
export function observeProcess(metrics: Metrics, clock: Clock = systemClock): Disposable {
  const gauge = (name: string, help: string, read: () => number) => metrics.observe({ name, help }, read);
  const startedMs = Date.now() - process.uptime() * 1000;
  gauge('process_start_time_seconds', 'Start of the process since the epoch.', () => startedMs / 1000);
  gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss());
  gauge('nodejs_heap_size_used_bytes', 'Used memory of the JavaScript heap.', () => process.memoryUsage().heapUsed);
  gauge('nodejs_heap_size_total_bytes', 'Size of the JavaScript heap.', () => process.memoryUsage().heapTotal);
  gauge(
    'nodejs_external_memory_bytes',
    'Memory of buffers and other objects outside the heap.',
    () => process.memoryUsage().external,
  );
  gauge(
    'nodejs_active_resources',
    'Sockets, servers, timers and other things that keep the event loop alive.',
    () => process.getActiveResourcesInfo().length,
  );
  gauge('process_cpu_seconds_total', 'User and system CPU time.', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  observeFiles(gauge);
  return observeLoop(gauge, clock);
}

type GaugeFn = (name: string, help: string, read: () => number) => void;

/** Only where there is a /proc; elsewhere these metrics do not exist. */
function observeFiles(gauge: GaugeFn): void {
  if (process.platform !== 'linux') return;
  // The listing itself holds one descriptor open.
  gauge('process_open_fds', 'Open file descriptors.', () => readdirSync('/proc/self/fd').length - 1);
  gauge('process_max_fds', 'Most file descriptors allowed.', () => {
    const soft = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
  });
}

function observeLoop(gauge: GaugeFn, clock: Clock): Disposable {
  let timer: Timer;
  let lastLagMs = 0;
  let maxLagMs = 0;
  let utilization = performance.eventLoopUtilization();
  const measure = () => {
    const due = clock.now() + LAG_INTERVAL_MS;
    timer = clock.after(LAG_INTERVAL_MS, () => {
      lastLagMs = Math.max(0, clock.now() - due);
      maxLagMs = Math.max(maxLagMs, lastLagMs);
      measure();
    });
  };
  measure();
  gauge('nodejs_eventloop_lag_seconds', 'How late the last timer ran.', () => lastLagMs / 1000);
  gauge('nodejs_eventloop_lag_max_seconds', 'How late the latest timer since the last collection ran.', () => {
    const max = maxLagMs;
    maxLagMs = lastLagMs;
    return max / 1000;
  });
  gauge(
    'nodejs_eventloop_utilization_ratio',
    'Part of the time since the last collection in which the event loop was busy.',
    () => {
      const now = performance.eventLoopUtilization();
      const { utilization: ratio } = performance.eventLoopUtilization(now, utilization);
      utilization = now;
      return ratio;
    },
  );
  return { [Symbol.dispose]: () => timer.cancel() };
}
