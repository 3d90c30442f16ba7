/** How holes are punched. */
export interface PunchOptions {
  /** Time for the simultaneous open after SYNC, in milliseconds: three transmissions of a SYN. */
  readonly openTimeoutMs: number;
  /** Punches that peers may have under way here at one time. */
  readonly maxInbound: number;
  /** Resets after which the ports are given up: the NAT that passed the reset on blocks them for some time. */
  readonly maxRefusals: number;
  /** Ports that are tried at once against NATs that reset; up to 16, as one message names no more. */
  readonly burst: number;
  /** Time for that, in milliseconds: a round trip over a bad mobile link. */
  readonly burstTimeoutMs: number;
}

export const punchDefaults: PunchOptions = {
  openTimeoutMs: 5_000,
  maxInbound: 32,
  maxRefusals: 4,
  burst: 16,
  burstTimeoutMs: 1_000,
};
