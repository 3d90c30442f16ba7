import { type Question, questionFor } from '../forward/question.ts';
import type { Recursor, Resolution } from '../forward/recursor.ts';
import type { UpstreamSet } from '../forward/upstream-set.ts';
import { RCODE, TYPE } from '../wire/constants.ts';
import { lowerAscii, type Name, readName } from '../wire/name.ts';
import { expandRdata, scanMessage, ttlOf } from '../wire/scan.ts';
import type { WireRecord } from '../wire/writer.ts';
import type { ZoneContext } from '../zone/types.ts';
import { lookup } from '../zone/zone.ts';

/** What was found for a name, over as many CNAMEs as it took. */
export interface Found {
  readonly rcode: number;
  /** The chain and the records at its end. */
  readonly answers: readonly WireRecord[];
  readonly authorities: readonly WireRecord[];
  /** EDNS options that tell why the end of the chain is missing. */
  readonly failure?: Buffer;
}

export interface FindDeps {
  readonly context: () => ZoneContext;
  readonly recursor: Recursor;
  readonly upstreams: UpstreamSet;
  readonly maxChase: number;
}

/** The question that `find` answers; the flags are those of the client's query. */
export interface Sought {
  readonly name: Name;
  readonly qtype: number;
  readonly like: Pick<Question, 'dnssecOk' | 'checkingDisabled'>;
}

/**
 * Resolves a name wherever it belongs, the cluster zone or upstream, and follows CNAMEs between the two. `done` is
 * called once, maybe before this returns.
 */
export function find(deps: FindDeps, sought: Sought, done: (found: Found) => void): void {
  const chain: WireRecord[] = [];
  let name = sought.name;
  for (let step = 0; step <= deps.maxChase; step++) {
    const local = lookup(deps.context(), name, sought.qtype);
    if (local === undefined) {
      findUpstream(deps, { ...sought, name }, chain, done);
      return;
    }
    chain.push(...local.answers);
    if (local.chase === undefined) {
      done({ rcode: local.rcode, answers: chain, authorities: local.authorities });
      return;
    }
    name = local.chase;
  }
  // A circle of ExternalNames: what was gathered is true, there just is no end.
  done({ rcode: RCODE.NOERROR, answers: chain, authorities: [] });
}

function findUpstream(deps: FindDeps, sought: Sought, chain: WireRecord[], done: (found: Found) => void): void {
  const question = questionFor(sought.name, sought.qtype, sought.like);
  deps.recursor.resolve(question, deps.upstreams.select(sought.name), (resolution) => {
    const { answers, authorities } = recordsOf(resolution);
    const failed = resolution.rcode !== RCODE.NOERROR && resolution.rcode !== RCODE.NXDOMAIN;
    const found = { rcode: resolution.rcode, answers: [...chain, ...answers], authorities };
    if (!failed) return done(found);
    const failure = resolution.answer === undefined ? resolution.options : (resolution.answer.options ?? NO_OPTIONS);
    done({ ...found, failure });
  });
}

const NO_OPTIONS = Buffer.alloc(0);

/** Answer records and, of the authority, the SOA that dates a denial; copied, names expanded. */
function recordsOf(resolution: Resolution): { answers: WireRecord[]; authorities: WireRecord[] } {
  const packet = resolution.answer?.packet;
  const scan = packet && scanMessage(packet);
  if (packet === undefined || scan === undefined) return { answers: [], authorities: [] };
  const records = scan.records.slice(0, scan.answers + scan.authorities).map((span) => ({
    name: (readName(packet, span.start) ?? []).map(lowerAscii),
    type: span.type,
    ttl: ttlOf(packet, span),
    data: expandRdata(packet, span),
  }));
  const answers = records.slice(0, scan.answers);
  return { answers, authorities: records.slice(scan.answers).filter((record) => record.type === TYPE.SOA) };
}
