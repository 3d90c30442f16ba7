import type { Random } from '@edgemesh/core';
import { TYPE } from '../wire/constants.ts';
import type { Name } from '../wire/name.ts';
import { type Question, questionFor } from './question.ts';

/**
 * Finds upstreams that send our queries back to us. Every probe asks for a name that nobody else can know; when this
 * server itself is asked for it, the upstream that got the probe is a loop.
 */
export interface LoopGuard {
  /** A new probe; `onReturn` is called when it comes back as a query. */
  issue(onReturn: () => void): LoopTicket;
  /**
   * True when a query's name is one of our probes: it is to be refused, never forwarded. Probes of other servers are
   * forwarded like any name, so that they find loops through us.
   */
  recognise(name: Name): boolean;
}

export interface LoopTicket {
  readonly question: Question;
  /** True once the probe came back. */
  readonly returned: boolean;
  /** The probe is over; a late return no longer counts. */
  cancel(): void;
}

/** Last label of probe names; no such top-level domain exists. */
export const PROBE_LABEL = 'edgemesh-loop-probe';
/** Probes that are over are remembered for a while, to refuse those that come back late. */
const REMEMBERED_PROBES = 256;

/** One guard per server. */
export function createLoopGuard(random: Random): LoopGuard {
  const issued = new Map<string, (() => void) | undefined>();
  const word = () =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  return {
    issue(onReturn) {
      const token = word() + word();
      let returned = false;
      if (issued.size >= REMEMBERED_PROBES) issued.delete(issued.keys().next().value as string);
      issued.set(token, () => {
        returned = true;
        onReturn();
      });
      return {
        question: questionFor([token, PROBE_LABEL], TYPE.HINFO),
        get returned() {
          return returned;
        },
        cancel: () => void issued.set(token, undefined),
      };
    },
    recognise(name) {
      if (name.length !== 2 || name[1] !== PROBE_LABEL) return false;
      const token = name[0] as string;
      issued.get(token)?.();
      return issued.has(token);
    },
  };
}
