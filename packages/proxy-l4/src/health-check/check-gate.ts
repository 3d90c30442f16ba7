/** Lets a limited number of checks run at once; the others wait in order. */
export interface CheckGate {
  /** Resolves with the function that ends the check, or with undefined when the signal aborts first. */
  enter(signal: AbortSignal): Promise<(() => void) | undefined>;
  /** Resolves when no check is under way. */
  idle(): Promise<void>;
}

/** Nobody waits twice, so the queue is as long as there are endpoints to check. */
export function createCheckGate(maxConcurrent: number): CheckGate {
  const waiting = new Set<() => void>();
  const idlers: (() => void)[] = [];
  let running = 0;
  const leave = () => {
    running--;
    const [next] = waiting;
    if (next !== undefined) next();
    else if (running === 0) for (const resolve of idlers.splice(0)) resolve();
  };
  return {
    enter(signal) {
      if (signal.aborted) return Promise.resolve(undefined);
      if (running < maxConcurrent) {
        running++;
        return Promise.resolve(leave);
      }
      return new Promise((resolve) => {
        const go = () => {
          waiting.delete(go);
          signal.removeEventListener('abort', abandon);
          running++;
          resolve(leave);
        };
        const abandon = () => {
          waiting.delete(go);
          resolve(undefined);
        };
        waiting.add(go);
        signal.addEventListener('abort', abandon, { once: true });
      });
    },
    idle: () => (running === 0 ? Promise.resolve() : new Promise((resolve) => idlers.push(resolve))),
  };
}
