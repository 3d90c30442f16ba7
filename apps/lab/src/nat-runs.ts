/**
 * Runs the NAT matrix many times and prints a table: `node --conditions=@edgemesh/source apps/lab/src/nat-runs.ts [runs] [filter]`.
 * Needs root and the bundles of the apps.
 */
import { createPairMesh, GREETING, ipv6Pairs, natPairName, natPairs, runPair } from './harness/nat-pairs.ts';

const runs = Number(process.argv[2] ?? 20);
const filter = process.argv[3] ?? '';
for (const relays of [1, 2]) {
  for (const pair of [...natPairs, ...ipv6Pairs]) {
    const name = `${natPairName(pair)}, ${relays} relay(s)`;
    if (!name.includes(filter)) continue;
    const times: number[] = [];
    const firsts: number[] = [];
    let good = 0;
    const nats = new Set<unknown>();
    for (let run = 0; run < runs; run++) {
      const made = await createPairMesh(pair, relays);
      await using mesh = made.mesh;
      const { first, reachedMs, path, last, nat } = await runPair(pair, made);
      const ok = first.body === GREETING && last.body === GREETING && reachedMs !== undefined && path === pair.expected;
      nats.add(nat);
      firsts.push(Math.round(first.seconds * 1000));
      if (ok) {
        good++;
        times.push(reachedMs);
        continue;
      }
      console.log(
        `  run ${run}: first ${JSON.stringify(first)} reached ${reachedMs} path ${path} last ${JSON.stringify(last)}`,
      );
      if (process.env.VERBOSE)
        for (const agent of [made.a, made.b])
          console.log(`  --- ${mesh.lab.prefix}${agent.machine.name}\n${agent.process.lines.slice(-60).join('\n')}`);
    }
    times.sort((x, y) => x - y);
    firsts.sort((x, y) => x - y);
    console.log(
      `${name}: ${good}/${runs}; path after ${times[times.length >> 1]} ms (max ${times.at(-1)}), ` +
        `first request ${firsts[firsts.length >> 1]} ms (max ${firsts.at(-1)}); nat ${[...nats].join('|')}`,
    );
  }
}
