import type { RuleFrontend, RulePick, ServiceRule } from '@edgemesh/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { difference } from './difference.ts';
import { type Element, hairpinElement, renderGlobals, renderRule, widest } from './render.ts';
import { declarations, skeletonChains, skeletonOptions } from './skeleton.ts';
import { emptyState, rulesOf, stateOf } from './state.ts';
import { changeStatements, elementStatements, isNothing, loadStatements } from './transaction.ts';

const front = (address: string, port = 80): RuleFrontend => ({
  kind: 'address',
  address,
  port,
  origin: 'any',
  masquerade: false,
});
const rule = (more: Partial<ServiceRule> = {}): ServiceRule => ({
  key: 'a',
  family: 4,
  protocol: 'TCP',
  frontends: [front('10.96.0.1')],
  routable: [
    { address: '10.1.0.1', port: 8080, local: true },
    { address: '10.1.0.2', port: 8080, local: false },
  ],
  tunnelled: 0,
  listener: { address: '169.254.96.16', port: 30001 },
  pick: { kind: 'random' },
  whenEmpty: 'reject',
  ...more,
});
const lines = (elements: readonly Element[]) => elements.map((e) => `${e.set} ${e.key}${e.value && ` : ${e.value}`}`);

describe('the rendering of a rule', () => {
  it('needs map elements only', () => {
    const rendered = renderRule(rule());
    expect(lines(rendered.elements)).toEqual([
      'svc4_kernel 10.96.0.1 . tcp . 80 : goto svc4_tcp_pick_2',
      'svc4_tcp_slots 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080',
      'svc4_tcp_slots 10.96.0.1 . 80 . 1 : 10.1.0.2 . 8080',
    ]);
    expect(lines(rendered.hairpins.map(hairpinElement))).toEqual(['hairpin4 10.1.0.1 . 10.1.0.1']);
    expect(rendered.chains).toEqual([]);
  });

  it('puts the share of the tunnel behind the routable slots, so that the fallback uses the same elements', () => {
    expect(lines(renderRule(rule({ tunnelled: 2 })).elements)).toEqual([
      'svc4_live 10.96.0.1 . tcp . 80 : goto svc4_tcp_pick_4',
      'svc4_kernel 10.96.0.1 . tcp . 80 : goto svc4_tcp_pick_2',
      'svc4_tcp_slots 10.96.0.1 . 80 . 0 : 10.1.0.1 . 8080',
      'svc4_tcp_slots 10.96.0.1 . 80 . 1 : 10.1.0.2 . 8080',
      'svc4_tcp_slots 10.96.0.1 . 80 . 2 : 169.254.96.16 . 30001',
      'svc4_tcp_slots 10.96.0.1 . 80 . 3 : 169.254.96.16 . 30001',
    ]);
  });

  it('needs one slot for a remote Service however many endpoints it has, and refuses it without the agent', () => {
    expect(lines(renderRule(rule({ routable: [], tunnelled: 50 })).elements)).toEqual([
      'svc4_live 10.96.0.1 . tcp . 80 : goto svc4_tcp_pick_1',
      'svc4_bare 10.96.0.1 . tcp . 80',
      'svc4_tcp_slots 10.96.0.1 . 80 . 0 : 169.254.96.16 . 30001',
    ]);
  });

  it.each([
    ['reject', 'svc4_bare 10.96.0.1 . tcp . 80'],
    ['drop', 'svc4_kernel 10.96.0.1 . tcp . 80 : drop'],
  ] as const)('answers no endpoints by %s', (whenEmpty, expected) => {
    expect(lines(renderRule(rule({ routable: [], whenEmpty })).elements)).toEqual([expected]);
  });

  it.each<[Partial<ServiceRule>, string]>([
    [{ listener: undefined, tunnelled: 1 }, 'no listener'],
    [{ frontends: [front('fd00::1')] }, 'not IPv4'],
    [{ routable: [{ address: 'fd00::1', port: 1, local: false }] }, 'not IPv4'],
    [{ family: 6, frontends: [front('fd00::1')], routable: [], tunnelled: 1 }, 'not IPv6'],
    [{ family: 6, frontends: [front('FD00::1')], routable: [] }, 'not a canonical address'],
    [{ frontends: [front('10.96.0.1 . tcp . 80 : drop }\nflush ruleset #')] }, 'not a canonical address'],
    [{ routable: [{ address: 'db.example.com', port: 1, local: false }] }, 'not a canonical address'],
    [{ routable: [{ address: '10.1.0.1', port: 70_000, local: false }] }, 'not a port'],
    [{ frontends: [front('10.96.0.1', 0)] }, 'not a port'],
    [{ pick: { kind: 'clientIP', timeoutSeconds: 0 } }, 'not a timeout'],
    [{ tunnelled: 1.5 }, 'not a number of endpoints'],
    [{ frontends: [{ ...front('10.96.0.1'), sourceRanges: ['any'] } as RuleFrontend] }, 'not an address range'],
  ])('leaves out %j and nothing else', (more, expected) => {
    const plan = {
      rules: [rule(more), rule({ key: 'good', frontends: [front('10.96.0.9')] })],
      exclusions: [],
      internalSources: [],
    };
    const state = stateOf(plan);
    expect(state.skipped).toEqual([{ rule: 'a', reason: 'invalid', detail: expect.stringContaining(expected) }]);
    expect([...rulesOf(state)].map(({ key }) => key)).toEqual(['good']);
    expect(difference(emptyState(), plan).skipped).toEqual(state.skipped);
  });

  it('uses only names that nft accepts and containers that are declared', () => {
    const declared = new Set(declarations().map(([, name]) => name));
    for (const [kind, name] of declarations()) expect(`${kind} ${name}`).toMatch(/^(set|map) [a-z][a-z0-9_]*$/);
    const keywords = ['fwd', 'dup', 'input', 'reject', 'masquerade', 'dnat', 'counter', 'limit', 'meta'];
    for (const chain of skeletonChains(skeletonOptions())) expect(keywords).not.toContain(chain.name);
    for (const kind of ['random', 'roundRobin', 'clientIP'] as const) {
      const rendered = renderRule(
        rule({ key: 'fwd/dup:"x;y', tunnelled: 1, pick: { kind, timeoutSeconds: 5 } as RulePick }),
      );
      for (const element of [...rendered.elements, ...rendered.hairpins.map(hairpinElement)])
        expect(declared).toContain(element.set);
      for (const { name } of [...rendered.chains, ...rendered.sets]) expect(name).toMatch(/^[a-z][a-z0-9_]{0,60}$/);
    }
  });
});

describe('ranges', () => {
  it('keeps the widest and no doubles', () => {
    expect(widest(['10.1.2.3/16', '10.0.0.0/8', 'fd00::/8', '10.1.0.0/16', '1.2.3.4', '1.2.3.4/32'])).toEqual([
      '1.2.3.4',
      '10.0.0.0/8',
      'fd00::/8',
    ]);
    expect(() => widest(['nonsense'])).toThrow(/not an address range/);
  });

  it('names each exclusion once', () => {
    const port = { kind: 'localPort', protocol: 'TCP', port: 20006 } as const;
    const address = { kind: 'address', address: '10.96.0.1', protocol: 'TCP', port: 443 } as const;
    const range = { kind: 'range', cidr: '10.9.0.0/16' } as const;
    expect(
      lines(renderGlobals({ exclusions: [port, address, port, range], internalSources: ['10.244.0.0/16'] })),
    ).toEqual([
      'internal4 10.244.0.0/16',
      'exclude_range4 10.9.0.0/16',
      'exclude_port tcp . 20006',
      'exclude4 10.96.0.1 . tcp . 443',
    ]);
  });
});

/** A slow model of nft: applies statements to sets and chains, strict about what must or must not exist. */
class Model {
  readonly elements = new Map<string, string>();
  readonly chains = new Map<string, string[]>();
  readonly sets = new Set<string>();

  apply(statements: readonly string[]): void {
    for (const statement of statements) this.#one(statement);
  }

  #one(statement: string): void {
    const [verb, kind, , , name, ...rest] = statement.split(' ') as [
      string,
      string,
      string,
      string,
      string,
      ...string[],
    ];
    if (kind === 'element') {
      for (const item of rest.join(' ').slice(2, -2).split(', ')) {
        const [key, value = ''] = item.split(' : ') as [string, string?];
        const id = `${name} ${key}`;
        if (verb === 'add' && this.elements.has(id)) throw new Error(`${id} exists`);
        if (verb === 'delete' && !this.elements.has(id)) throw new Error(`${id} does not exist`);
        if (verb === 'delete') this.elements.delete(id);
        else this.elements.set(id, this.#known(value));
      }
    } else if (kind === 'chain' && verb === 'add') this.chains.set(name, this.chains.get(name) ?? []);
    else if (kind === 'chain' && verb === 'flush') this.#chain(name).splice(0);
    else if (kind === 'chain' && verb === 'delete') {
      const users = [...this.chains].filter(([, rules]) => rules.some((r) => r.split(/[ ,]/).includes(name)));
      const elements = [...this.elements.values()].filter((value) => value === `goto ${name}`);
      if (users.length + elements.length > 0 || this.#chain(name).length > 0) throw new Error(`${name} is in use`);
      this.chains.delete(name);
    } else if (kind === 'rule') this.#chain(name).push(this.#known(rest.join(' ')));
    else if (kind === 'set' && verb === 'add') this.sets.add(name);
    else if (kind === 'set') {
      if ([...this.chains.values()].flat().some((r) => r.includes(`@${name}`))) throw new Error(`${name} is in use`);
      this.sets.delete(name);
    } else throw new Error(`unknown statement ${statement}`);
  }

  #chain(name: string): string[] {
    const chain = this.chains.get(name);
    if (chain === undefined) throw new Error(`no chain ${name}`);
    return chain;
  }

  /** What a value or rule refers to must exist. */
  #known(text: string): string {
    for (const [, chain] of text.matchAll(/goto (\w+)/g)) this.#chain(chain as string);
    for (const [, set] of text.matchAll(/@(clients_\w+)/g))
      if (!this.sets.has(set as string)) throw new Error(`no set ${set}`);
    return text;
  }
}

const picks: RulePick[] = [{ kind: 'random' }, { kind: 'roundRobin' }, { kind: 'clientIP', timeoutSeconds: 60 }];
const arbitraryFrontend = fc.oneof(
  fc.record({
    kind: fc.constant('address' as const),
    address: fc.integer({ min: 1, max: 6 }).map((n) => `10.96.0.${n}`),
    port: fc.constantFrom(80, 81),
    origin: fc.constantFrom('any' as const, 'external' as const),
    masquerade: fc.boolean(),
    sourceRanges: fc.constantFrom<readonly string[]>([], ['10.0.0.0/8', '10.1.0.0/16']),
  }),
  fc.record({
    kind: fc.constant('nodePort' as const),
    port: fc.constantFrom(30000, 30001),
    origin: fc.constantFrom('any' as const, 'external' as const),
    masquerade: fc.boolean(),
  }),
);
const arbitraryRule: fc.Arbitrary<ServiceRule> = fc.record({
  key: fc.constantFrom('a', 'b', 'c', 'd'),
  family: fc.constant(4 as const),
  protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
  frontends: fc.array(arbitraryFrontend, { maxLength: 3 }),
  routable: fc.array(
    fc.record({
      address: fc.integer({ min: 1, max: 5 }).map((n) => `10.1.0.${n}`),
      port: fc.constant(8080),
      local: fc.boolean(),
    }),
    { maxLength: 4 },
  ),
  tunnelled: fc.integer({ min: 0, max: 3 }),
  listener: fc.constant({ address: '169.254.96.16', port: 30001 }),
  pick: fc.constantFrom(...picks),
  whenEmpty: fc.constantFrom('reject' as const, 'drop' as const),
});

describe('changes of the table', () => {
  it('lead from any plan to any other by statements that nft accepts, to the same table as a fresh load', () => {
    const plans = fc.array(fc.array(arbitraryRule, { maxLength: 5 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(plans, (sequence) => {
        const walked = new Model();
        const state = emptyState();
        for (const rules of sequence) {
          const plan = structuredClone({ rules, exclusions: [], internalSources: [] });
          const step = difference(state, plan);
          walked.apply(changeStatements('t', step.change));
          step.commit();
          const fresh = new Model();
          const loaded = stateOf(plan);
          fresh.apply([...loadStatements('t', loaded)]);
          expect(step.skipped).toEqual(loaded.skipped);
          expect([...rulesOf(state)]).toEqual(expect.arrayContaining([...rulesOf(loaded)]));
          expect({ ...state, picks: 0, plan: 0, entries: 0 }).toEqual({ ...loaded, picks: 0, plan: 0, entries: 0 });
          expect([...walked.elements].sort()).toEqual([...fresh.elements].sort());
          expect(walked.sets).toEqual(fresh.sets);
          const own = (model: Model) => [...model.chains].filter(([name]) => !name.includes('_pick_')).sort();
          expect(own(walked)).toEqual(own(fresh));
          expect(state.elementCount).toBe(walked.elements.size);
          expect(isNothing(difference(state, plan).change)).toBe(true);
          expect(isNothing(difference(state, structuredClone(plan)).change)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('touch nothing of Services that did not change', () => {
    const other = rule({ key: 'z', frontends: [front('10.96.0.9')], pick: { kind: 'roundRobin' } });
    const before = stateOf({ rules: [rule(), other], exclusions: [], internalSources: [] });
    expect([...loadStatements('t', before)].length).toBeGreaterThan(0);
    const smaller = rule({ routable: rule().routable.slice(0, 1) });
    const step = difference(before, { rules: [smaller, { ...other }], exclusions: [], internalSources: [] });
    expect(changeStatements('t', step.change)).toEqual([
      'add chain inet t svc4_tcp_pick_1',
      'add rule inet t svc4_tcp_pick_1 dnat ip to ip daddr . tcp dport . numgen random mod 1 map @svc4_tcp_slots',
      'delete element inet t svc4_kernel { 10.96.0.1 . tcp . 80 }',
      'delete element inet t svc4_tcp_slots { 10.96.0.1 . 80 . 1 }',
      'add element inet t svc4_kernel { 10.96.0.1 . tcp . 80 : goto svc4_tcp_pick_1 }',
    ]);
  });

  it('give a frontend that two rules claim to the first and say so', () => {
    const step = difference(emptyState(), {
      rules: [rule(), rule({ key: 'b' }), rule()],
      exclusions: [],
      internalSources: [],
    });
    expect(step.skipped).toEqual([
      { rule: 'b', reason: 'frontend-taken', frontend: 'svc4 10.96.0.1 . tcp . 80' },
      { rule: 'a', reason: 'duplicate-key' },
    ]);
    expect(step.change.addedElements).toHaveLength(4);
  });

  it('cut long statements', () => {
    const many = Array.from({ length: 4_500 }, (_, i) => ({ set: 's', key: String(i), value: '' }));
    expect(elementStatements('add', 't', many)).toHaveLength(3);
  });
});
