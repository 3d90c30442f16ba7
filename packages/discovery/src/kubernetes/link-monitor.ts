import { type Clock, detach, type Logger, messageOf, type Timer } from '@edgemesh/core';
import { classifyList } from './classify.ts';
import type { KubeClient } from './client.ts';
import { INITIAL_LINK, type LinkAction, type LinkEvent, stepLink } from './link-machine.ts';

/** What a link monitor needs. */
export interface LinkMonitorOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  /** Milliseconds until the next look while it is down. */
  readonly nextProbeMs: () => number;
  readonly log: Logger;
  /** The cloud answers or not, for those who asked. */
  readonly onVerdict: (online: boolean) => void;
  /** It answers again. */
  readonly onUp: () => void;
}

/** Finds out whether the cloud answers behind a metaServer. */
export interface LinkMonitor {
  doubt(): void;
  sawCloud(): void;
  stop(): void;
}

/** The timers and the probe around {@link stepLink}. */
export function createLinkMonitor(options: LinkMonitorOptions): LinkMonitor {
  const { client, clock, nextProbeMs, log, onVerdict, onUp } = options;
  const stop = new AbortController();
  let state = INITIAL_LINK;
  let timer: Timer | undefined;
  const dispatch = (event: LinkEvent) => {
    if (stop.signal.aborted) return;
    const before = state.link;
    const step = stepLink(state, event, clock.now(), nextProbeMs);
    state = step.state;
    if (state.link !== before) log.info('link to the cloud', { link: state.link });
    timer?.cancel();
    timer = undefined;
    if (state.deadline !== undefined) {
      timer = clock.after(Math.max(0, state.deadline - clock.now()), () => dispatch({ type: 'wake' }));
    }
    for (const action of step.actions) perform(action);
  };
  const perform = (action: LinkAction) => {
    if (action.type === 'verdict') onVerdict(action.online);
    else if (action.type === 'up') onUp();
    else detach('probe the cloud', log, probe());
  };
  const probe = async () => {
    let online = false;
    try {
      // Services exist in every cluster and cloudcore may always read them
      const page = await client.list('/api/v1/services', new URLSearchParams({ limit: '1' }), stop.signal);
      online = classifyList(page) === 'cloud';
    } catch (error) {
      log.debug('probe of the cloud failed', { error: messageOf(error) });
    }
    dispatch({ type: 'probed', online });
  };
  return {
    doubt: () => dispatch({ type: 'doubt' }),
    sawCloud: () => dispatch({ type: 'cloud' }),
    stop() {
      stop.abort();
      timer?.cancel();
    },
  };
}
