import type { Endpoint, Service, ServiceId } from '@edgemesh/core';
import { createFakeClock } from '@edgemesh/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Content, endpoint, fakeView, service } from '../../test/catalog.ts';
import { readSettings } from '../settings.ts';
import { TYPE } from '../wire/constants.ts';
import { encodeName, parseName } from '../wire/name.ts';
import { encodeZoneAnswer } from './encode.ts';
import { lookup } from './zone.ts';
import { createZoneState, type ZoneState } from './zone-state.ts';

const settings = readSettings({ listen: [{ address: '127.0.0.1', port: 53 }], pods: 'verified' });
const clock = createFakeClock();

/** What a Service may be at one moment, besides absent. */
const kinds: readonly Partial<Service>[] = [
  { clusterIPs: ['10.0.0.1'] },
  { clusterIPs: ['10.0.0.2', 'fd00::2'] },
  { headless: true },
  { headless: true, publishNotReadyAddresses: true },
  { type: 'ExternalName', externalName: 'x.test' },
];
const endpointSets: readonly (readonly Endpoint[])[] = [
  [],
  [endpoint('10.1.0.1', { hostname: 'h' })],
  [endpoint('10.1.0.1', { ready: false }), endpoint('10.1.0.2')],
  [endpoint('10.1.0.2', { nodeName: 'a' }), endpoint('10.1.0.2', { nodeName: 'b', targetRef: pod('p') })],
];
const ids: readonly ServiceId[] = ['a/one', 'a/two', 'b/one'];

function pod(name: string) {
  return { kind: 'Pod', namespace: 'b', name, uid: name };
}

type Choice = readonly [kind: number, endpoints: number];
const moment = fc.array(fc.tuple(fc.integer({ min: -1, max: kinds.length - 1 }), fc.nat(endpointSets.length - 1)), {
  minLength: ids.length,
  maxLength: ids.length,
});

function contentOf(choices: readonly Choice[]): Content {
  const services: Service[] = [];
  const endpoints: Record<ServiceId, readonly Endpoint[]> = {};
  for (const [i, [kind, set]] of choices.entries()) {
    const [namespace, name] = (ids[i] as string).split('/') as [string, string];
    if (kind < 0) continue;
    services.push(service(namespace, name, kinds[kind]));
    endpoints[ids[i] as ServiceId] = endpointSets[set] as readonly Endpoint[];
  }
  return { services, endpoints };
}

const questions: readonly (readonly [string, number])[] = [
  ...['a', 'b'].flatMap((ns) => [
    `${ns}.svc.cluster.local`,
    `${ns}.pod.cluster.local`,
    `10-1-0-2.${ns}.pod.cluster.local`,
  ]),
  ...['one.a', 'two.a', 'one.b'].flatMap((id) =>
    ['', 'h.', '10-1-0-2.', 'p.', '_tcp.', '_http._tcp.'].map((below) => `${below}${id}.svc.cluster.local`),
  ),
  '1.0.0.10.in-addr.arpa',
  '2.0.0.10.in-addr.arpa',
  '1.0.1.10.in-addr.arpa',
  '2.0.1.10.in-addr.arpa',
].flatMap((name) => [TYPE.A, TYPE.AAAA, TYPE.SRV, TYPE.PTR].map((type) => [name, type] as const));

/** As the resolver does: from the store, else made and kept. */
function answer(state: ZoneState, [text, type]: readonly [string, number]): string {
  const key = `${text} ${type}`;
  const kept = state.store.get(key);
  if (kept !== undefined) return kept.packet.toString('hex');
  const name = parseName(text) ?? [];
  const found = lookup(state.context(), name, type);
  if (found === undefined) return 'forwarded';
  if (found.chase !== undefined) return `chased ${found.chase.join('.')}`;
  const made = encodeZoneAnswer(Buffer.concat([encodeName(name), Buffer.from([0, type, 0, 1])]), name, found);
  state.store.set(key, made, found.dependsOn);
  return made.packet.toString('hex');
}

describe('the zone', () => {
  it('after any changes answers as one that starts with the last snapshot, kept answers included', () => {
    fc.assert(
      fc.property(fc.array(moment, { minLength: 2, maxLength: 6 }), (moments) => {
        const view = fakeView(contentOf(moments[0] as Choice[]));
        const state = createZoneState(settings, view, { addressOf: undefined, clock });
        for (const [i, now] of moments.entries()) {
          if (i > 0) {
            const before = moments[i - 1] as Choice[];
            const changed = ids.filter((_, at) => String(before[at]) !== String(now[at]));
            view.publish(contentOf(now), { services: new Set(changed) });
          }
          const fresh = createZoneState(settings, fakeView(contentOf(now)), { addressOf: undefined, clock });
          for (const question of questions)
            expect([question, answer(state, question)]).toEqual([question, answer(fresh, question)]);
        }
        state.close();
        expect(view.listeners).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  it('keeps a bounded number of encoded answers', () => {
    const small = readSettings({ listen: [{ address: '127.0.0.1', port: 53 }], limits: { maxZoneAnswers: 5 } });
    const state = createZoneState(small, fakeView({ services: [] }), { addressOf: undefined, clock });
    for (let i = 0; i < 50; i++) answer(state, [`n${i}.a.svc.cluster.local`, TYPE.A]);
    expect(state.store.size).toBe(5);
  });
});
