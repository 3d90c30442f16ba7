import type { Clock } from '@edgemesh/core';
import type { LoopGuard } from '../forward/loop-guard.ts';
import { isShared, keyFlags, type Question, questionOf } from '../forward/question.ts';
import type { Recursor, Resolution } from '../forward/recursor.ts';
import type { UpstreamSet } from '../forward/upstream-set.ts';
import type { Limits } from '../options.ts';
import { EDE, FLAG, HEADER_BYTES, RCODE } from '../wire/constants.ts';
import { questionKey } from '../wire/key.ts';
import { lowerAscii, type Name, readName } from '../wire/name.ts';
import type { QueryView } from '../wire/query.ts';
import { type Answer, extendedError, replyWith, replyWithError } from '../wire/reply.ts';
import { writeMessage } from '../wire/writer.ts';
import type { AnswerStore } from '../zone/answer-store.ts';
import { encodeZoneAnswer } from '../zone/encode.ts';
import type { ZoneAnswer, ZoneContext } from '../zone/types.ts';
import { domainOf, lookup } from '../zone/zone.ts';
import { type AutopathDeps, completeSearch, searchStart } from './autopath.ts';
import type { AnswerCounters, Source } from './counters.ts';
import { type Found, find } from './find.ts';
import { specialAnswer } from './special.ts';

/** Answers queries, whatever transport they came by. */
export interface Resolver {
  /**
   * The reply that needs no waiting, or undefined. The hot path: no promise, no closure.
   * @param verdict what `parseQuery` said, not `DROP`
   * @param limit largest reply in bytes
   */
  answerNow(message: Buffer, view: QueryView, verdict: number, limit: number, client: string): Buffer | undefined;
  /** What `answerNow` left open. Keeps `message` and `view` until then; `send` is called at most once. */
  answerLater(message: Buffer, view: QueryView, limit: number, client: string, send: (reply: Buffer) => void): void;
}

export interface ResolverDeps {
  readonly clock: Clock;
  readonly limits: Limits;
  readonly store: AnswerStore;
  readonly recursor: Recursor;
  readonly upstreams: UpstreamSet;
  readonly loops: LoopGuard;
  readonly counters: AnswerCounters;
  /** Cluster zone as of now; undefined when it is forwarded like any other. */
  readonly zone: { readonly context: () => ZoneContext } | undefined;
  readonly autopath: AutopathDeps | undefined;
}

const NOT_READY = extendedError(EDE.NOT_READY, 'the services of the cluster are not known yet');
const LOOP = extendedError(EDE.PROHIBITED, 'an upstream resolver sends queries back here');

/** The order of the sources stands in `answerNow` and `answerLater`. */
export function createResolver(deps: ResolverDeps): Resolver {
  const { limits, store, recursor, upstreams, counters, zone, autopath } = deps;
  const payload = limits.maxUdpPayload;
  let turn = 0;

  const count = (source: Source, rcode: number) => counters[source][rcode]?.add();
  const fail = (message: Buffer, view: QueryView, rcode: number, options?: Buffer) => {
    count('error', rcode);
    return replyWithError(message, view, rcode, payload, options);
  };
  const give = (answer: Answer, source: Source, message: Buffer, view: QueryView, limit: number) => {
    count(source, (answer.packet[3] as number) & 15);
    turn = (turn + 1) & 0xffff;
    return replyWith(answer, message, view, limit, turn, payload);
  };
  const nameOf = (message: Buffer): Name => (readName(message, HEADER_BYTES) ?? []).map(lowerAscii);
  const peek = (key: string, message: Buffer, view: QueryView) =>
    recursor.peek(
      key,
      deps.clock.now(),
      () => upstreams.select(nameOf(message)),
      () => questionOf(message, view),
    );

  /** True when autopath may turn this denial into an answer for this client. */
  const search = (view: QueryView, name: Name, answer: ZoneAnswer, client: string) => {
    if (autopath === undefined || zone === undefined || answer.rcode !== RCODE.NXDOMAIN) return undefined;
    const domain = domainOf(name, zone.context().domains);
    const sought = { name, qtype: view.qtype, like: flagsOf(view) };
    const start = domain && searchStart(autopath, sought, domain, client);
    return start && { start, sought };
  };

  /** First time for a question: makes the zone's answer and keeps it. */
  const answerFresh = (key: string, message: Buffer, view: QueryView, limit: number, client: string) => {
    const name = nameOf(message);
    if (deps.loops.recognise(name)) return fail(message, view, RCODE.REFUSED, LOOP);
    const question = message.subarray(HEADER_BYTES, view.questionEnd);
    const special = specialAnswer(question, name, view.qtype);
    if (special !== undefined) {
      store.set(key, special, []);
      return give(special, 'zone', message, view, limit);
    }
    if (zone === undefined) return undefined;
    const context = zone.context();
    // Before the first snapshot a name can be neither confirmed nor denied: a denial would be cached and believed.
    if (context.catalog.revision === 0 && domainOf(name, context.domains) !== undefined) {
      return fail(message, view, RCODE.SERVFAIL, NOT_READY);
    }
    const found = lookup(context, name, view.qtype);
    if (found === undefined || found.chase !== undefined) return undefined;
    if (search(view, name, found, client) !== undefined) return undefined;
    const answer = encodeZoneAnswer(question, name, found);
    // With autopath a denial depends on who asks.
    if (autopath === undefined || found.rcode !== RCODE.NXDOMAIN) store.set(key, answer, found.dependsOn);
    return give(answer, 'zone', message, view, limit);
  };

  const render = (resolution: Resolution, message: Buffer, view: QueryView, limit: number): Buffer => {
    if (resolution.answer === undefined) return fail(message, view, resolution.rcode, resolution.options);
    return give(resolution.answer, resolution.source, message, view, limit);
  };
  const renderFound = (found: Found, question: Question, message: Buffer, view: QueryView, limit: number): Buffer => {
    // The chain up to here is ours and true: it is given without the end that an upstream owes (never SERVFAIL).
    const rcode = found.failure === undefined ? found.rcode : RCODE.NOERROR;
    const packet = writeMessage(question.wire, nameOf(message), {
      flags: FLAG.QR | FLAG.AA | FLAG.RA | (rcode & 15),
      answers: found.answers,
      authorities: found.authorities,
    });
    return give({ packet, options: found.failure }, 'zone', message, view, limit);
  };

  return {
    answerNow(message, view, verdict, limit, client) {
      if (verdict !== RCODE.NOERROR) return fail(message, view, verdict);
      const key = questionKey(message, view.nameEnd, keyFlags(view));
      const kept = store.get(key);
      if (kept !== undefined) return give(kept, 'zone', message, view, limit);
      // An address that upstreams have denied may have become a Service's since: reverse names ask the zone first.
      if (isShared(message, view) && !(zone !== undefined && endsInArpa(message, view.nameEnd))) {
        const stored = peek(key, message, view);
        if (stored !== undefined) return give(stored.answer, 'cache', message, view, limit);
      }
      return answerFresh(key, message, view, limit, client);
    },
    answerLater(message, view, limit, client, send) {
      const name = nameOf(message);
      const question = questionOf(message, view);
      const local = zone && lookup(zone.context(), name, view.qtype);
      if (local === undefined || zone === undefined) {
        return recursor.resolve(question, upstreams.select(name), (resolution) =>
          send(render(resolution, message, view, limit)),
        );
      }
      const deny = { rcode: local.rcode, answers: local.answers, authorities: local.authorities };
      const begun = search(view, name, local, client);
      if (begun !== undefined && autopath !== undefined) {
        return completeSearch(autopath, begun.start, begun.sought, (found) =>
          send(renderFound(found ?? deny, question, message, view, limit)),
        );
      }
      const { context } = zone;
      find(
        { context, recursor, upstreams, maxChase: limits.maxChase },
        { name, qtype: view.qtype, like: flagsOf(view) },
        (found) => send(renderFound(found, question, message, view, limit)),
      );
    },
  };
}

/** `\x04arpa\0` at the end of the question's name. */
function endsInArpa(message: Buffer, nameEnd: number): boolean {
  if (message[nameEnd - 6] !== 4) return false;
  for (let i = 0; i < 4; i++) if (((message[nameEnd - 5 + i] as number) | 32) !== ARPA[i]) return false;
  return true;
}
const ARPA = Buffer.from('arpa');

function flagsOf(view: QueryView): Pick<Question, 'dnssecOk' | 'checkingDisabled'> {
  return { dnssecOk: view.dnssecOk, checkingDisabled: (view.flags & FLAG.CD) !== 0 };
}
