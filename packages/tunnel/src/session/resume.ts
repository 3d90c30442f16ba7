import { PATH_KINDS, type PathKind } from '../types.ts';
import type { AttachFrame } from './wire.ts';

/** What a peer's ATTACH means for this side's session. */
export type AttachVerdict =
  /** The peer is new to a session that is new here too: take its id. */
  | 'adopt'
  /** Both know each other: numbering goes on. */
  | 'resume'
  /** The peer has lost the session (it restarted, or gave up waiting): what was in flight is lost. */
  | 'restart'
  /** The peer still believes in an earlier session of ours; it will send another ATTACH once it has read ours. */
  | 'ignore';

/** Compares the ids that both sides hold. `remoteId` is empty while this side has not heard of the peer's session. */
export function judgeAttach(
  own: { readonly localId: string; readonly remoteId: string },
  frame: Pick<AttachFrame, 'localId' | 'remoteId'>,
): AttachVerdict {
  const fits = frame.remoteId === '' || frame.remoteId === own.localId;
  if (own.remoteId === '') return fits ? 'adopt' : 'ignore';
  if (own.remoteId === frame.localId) return fits ? 'resume' : 'ignore';
  return 'restart';
}

/** A carrier as the leader compares it. */
export interface Candidate {
  readonly path: PathKind;
  /** Either side asked for it whatever its path. */
  readonly preferred: boolean;
  /** The follower has no carrier left, and what it lost is the one in use here (same START number). */
  readonly rescue: boolean;
}

/**
 * The leader's choice between the carrier in use and another one. The follower follows, so both always agree; of equals
 * the one in use stays, so carriers that both ends open at the same time end as one.
 */
export function isBetter(candidate: Candidate, current: Pick<Candidate, 'path'> | undefined): boolean {
  if (current === undefined || candidate.preferred || candidate.rescue) return true;
  return PATH_KINDS.indexOf(candidate.path) < PATH_KINDS.indexOf(current.path);
}
