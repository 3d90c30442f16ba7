import type { KubeClient } from './client.ts';

/** A client whose lists run one after the other: cloudcore answers from a single goroutine, and thin links carry one page at a time. */
export function oneAtATime(client: KubeClient): KubeClient {
  let tail: Promise<unknown> = Promise.resolve();
  return {
    list(path, query, signal) {
      const run = () => client.list(path, query, signal);
      const result = tail.then(run);
      // the next one waits for this one, however it ends; its caller hears of the failure through `result`
      tail = result.catch(() => undefined);
      return result;
    },
    watch: (path, query, handlers, signal) => client.watch(path, query, handlers, signal),
  };
}
