import type { Clock, Random } from '@edgemesh/core';
import type { DnsMetrics } from '../metrics.ts';
import type { Limits } from '../options.ts';
import { RCODE } from '../wire/constants.ts';
import { type Done, failure, type UpstreamReply } from './outcome.ts';
import { encodeQuery, type Question } from './question.ts';
import { createRttEstimator, type RttEstimator } from './rtt.ts';
import { createTcpChannel } from './tcp-channel.ts';
import { createUdpChannel, type UdpChannel } from './udp-channel.ts';

/** Asks one server: by UDP, again without EDNS where that is what it wants, by TCP where the answer came truncated. */
export interface Asker {
  readonly rtt: RttEstimator;
  /** `done` is called exactly once, within the attempt timeout (twice or thrice that for the second tries above). */
  ask(question: Question, done: Done): void;
  close(): void;
}

export interface AskerDeps {
  readonly address: string;
  readonly port: number;
  /** Label of the metrics. */
  readonly name: string;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: DnsMetrics;
}

/** How long a server that choked on EDNS is asked without it. */
const NO_EDNS_MS = 600_000;

/** Opens sockets on demand. */
export function createAsker(deps: AskerDeps): Asker {
  const { address, port, limits, clock, random } = deps;
  const seconds = deps.metrics.upstreamSeconds.with(deps.name);
  const truncated = deps.metrics.upstreamQueries.with(deps.name, 'truncated');
  const stray = deps.metrics.upstreamQueries.with(deps.name, 'stray');
  const rtt = createRttEstimator(limits.hedgeMinMs, limits.hedgeMaxMs);
  const tcp = createTcpChannel({ address, port, clock, random, idleMs: limits.upstreamTcpIdleMs });
  let channels: UdpChannel[] = [];
  let plainUntil = 0;

  const channel = (): UdpChannel => {
    channels = channels.filter((c) => c.usable);
    if (channels.length < limits.socketsPerUpstream) {
      const opened = createUdpChannel({
        address,
        port,
        clock,
        random,
        maxQueries: limits.queriesPerSocket,
        lifetimeMs: limits.socketLifetimeMs,
        onStray: () => stray.add(),
      });
      channels.push(opened);
      return opened;
    }
    return channels[Math.floor(random() * channels.length)] as UdpChannel;
  };

  /** One query over one transport with the attempt timeout. */
  const attempt = (transport: 'udp' | 'tcp', question: Question, edns: boolean, done: Done) => {
    const started = clock.now();
    const query = encodeQuery(question, edns, limits.maxUdpPayload);
    const timer = clock.after(limits.attemptTimeoutMs, () => {
      forget();
      done(failure('timeout'));
    });
    const forget = (transport === 'udp' ? channel() : tcp).send(query, question.wire, (outcome) => {
      timer.cancel();
      if (outcome.kind === 'reply') {
        const elapsed = clock.now() - started;
        seconds.observe(elapsed / 1000);
        if (transport === 'udp') rtt.observe(elapsed);
      }
      done(outcome);
    });
  };

  const overTcp = (question: Question, edns: boolean, short: UpstreamReply, done: Done) => {
    truncated.add();
    attempt('tcp', question, edns, (outcome) => {
      // The short answer is still better than none: the client sees TC and may come by TCP itself.
      done(outcome.kind === 'failure' && short.scan !== undefined ? short : outcome);
    });
  };

  const ask = (question: Question, done: Done) => {
    const edns = clock.now() >= plainUntil;
    attempt('udp', question, edns, (outcome) => {
      if (outcome.kind === 'failure') return done(outcome);
      if (edns && chokedOnEdns(outcome)) {
        plainUntil = clock.now() + NO_EDNS_MS;
        return attempt('udp', question, false, (plain) =>
          plain.kind === 'reply' && plain.truncated ? overTcp(question, false, plain, done) : done(plain),
        );
      }
      return outcome.truncated ? overTcp(question, edns, outcome, done) : done(outcome);
    });
  };

  return {
    rtt,
    ask,
    close() {
      for (const open of channels) open.close();
      tcp.close();
    },
  };
}

/** Servers that predate EDNS, or fear it, answer these without an OPT (RFC 6891 7). */
function chokedOnEdns(reply: UpstreamReply): boolean {
  return (reply.rcode === RCODE.FORMERR || reply.rcode === RCODE.NOTIMP) && reply.scan?.opt === undefined;
}
