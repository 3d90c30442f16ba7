/** How a node finds out what is between it and the others. */
export interface ReachOptions {
  /** Pause after a change of relays, network or port mapping, in milliseconds: changes come in groups, members in crowds. */
  readonly settleMs: number;
  /** The look from outside is repeated this often, in milliseconds: a router may change without a trace on our side. */
  readonly intervalMs: number;
  /** The same while an address that was reachable seems to be so no more: it is dropped when that is confirmed. */
  readonly doubtMs: number;
  /** Time for one look, in milliseconds. */
  readonly timeoutMs: number;
  /** Time that a relay gives one of its dials back, in milliseconds: a SYN and one repetition. */
  readonly dialTimeoutMs: number;
  /** Addresses that a relay dials per request. */
  readonly maxAddresses: number;
  /** Dials back that a relay has under way at one time, all members together. */
  readonly maxDials: number;
}

export const reachDefaults: ReachOptions = {
  settleMs: 500,
  intervalMs: 600_000,
  doubtMs: 15_000,
  timeoutMs: 8_000,
  dialTimeoutMs: 3_000,
  maxAddresses: 4,
  maxDials: 128,
};
