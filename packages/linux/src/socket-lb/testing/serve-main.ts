// Serves sockets of its network namespace. Reads a line of JSON, { rules, exclusions } or { beat: true }, and answers each with one.
// Usage: node serve-main.ts '{"agentTimeoutSeconds":20,"podGroup":"kubepods"}'
import { createInterface } from 'node:readline';
import type { RuleExclusion, ServiceRule } from '@edgemesh/core';
import { openSocketLb, type SocketLbOptions } from '../socket-lb.ts';

type Order = { readonly rules: ServiceRule[]; readonly exclusions: RuleExclusion[] } | { readonly beat: true };

const socketLb = await openSocketLb(JSON.parse(process.argv[2] as string) as SocketLbOptions);
// One object for each version of a rule, as in a plan.
const known = new Map<string, ServiceRule>();
console.log('ready');
for await (const line of createInterface(process.stdin)) {
  const order = JSON.parse(line) as Order;
  if ('beat' in order) {
    await socketLb.beat();
    console.log('done: beat');
    continue;
  }
  const rules = order.rules.map((rule) => {
    const text = JSON.stringify(rule);
    const same = known.get(text) ?? rule;
    known.set(text, same);
    return same;
  });
  const started = performance.now();
  await socketLb.apply(rules, order.exclusions);
  console.log(`done: ${socketLb.frontends} frontends in ${(performance.now() - started).toFixed(1)} ms`);
}
