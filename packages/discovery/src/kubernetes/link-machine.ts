/** Whether the cloud answers behind a metaServer. */
export interface LinkState {
  readonly link: 'unknown' | 'online' | 'offline';
  readonly probing: boolean;
  /** Next probe while offline. */
  readonly deadline?: number | undefined;
}

/** What the link monitor hears of. */
export type LinkEvent =
  | { readonly type: 'wake' }
  /** A reflector has reason to doubt. */
  | { readonly type: 'doubt' }
  /** A list came from the cloud. */
  | { readonly type: 'cloud' }
  | { readonly type: 'probed'; readonly online: boolean };

/** `verdict`: tell those who asked. `up`: it was offline and is back: all list, close and reopen their watches. */
export type LinkAction =
  | { readonly type: 'probe' }
  | { readonly type: 'verdict'; readonly online: boolean }
  | { readonly type: 'up' };

/** Before anything is known. */
export const INITIAL_LINK: LinkState = { link: 'unknown', probing: false };

/** METASERVER.md 5.6: a list with limit=1 shows which side answers; while it is the edge, look again every few seconds. */
export function stepLink(
  state: LinkState,
  event: LinkEvent,
  now: number,
  nextProbeMs: () => number,
): { readonly state: LinkState; readonly actions: readonly LinkAction[] } {
  switch (event.type) {
    case 'wake':
    case 'doubt':
      if (state.probing) return { state, actions: [] };
      return { state: { ...state, probing: true, deadline: undefined }, actions: [{ type: 'probe' }] };
    case 'cloud':
      return online(state);
    case 'probed': {
      const known = { ...state, probing: false };
      if (!event.online) {
        const deadline = now + nextProbeMs();
        return { state: { ...known, link: 'offline', deadline }, actions: [{ type: 'verdict', online: false }] };
      }
      const step = online(known);
      return { state: step.state, actions: [...step.actions, { type: 'verdict', online: true }] };
    }
  }
}

function online(state: LinkState): { readonly state: LinkState; readonly actions: readonly LinkAction[] } {
  const next: LinkState = { ...state, link: 'online', deadline: undefined };
  return { state: next, actions: state.link === 'offline' ? [{ type: 'up' }] : [] };
}
