/**
 * The benchmarks of docs/BENCHMARKS.md, in network namespaces. Every figure stands beside the direct path of the same run.
 * Needs root and Debian's nginx-light, wrk, iperf3, dnsperf, haproxy, nghttp2-client and nebula.
 *
 *   pnpm bench -- [--seconds 5] [--only lan,relayed,peers,kernel,scale,gateway]
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { benchGateway } from './bench/gateway.ts';
import { benchLan } from './bench/lan.ts';
import { benchPeers } from './bench/peers.ts';
import { benchRelayed } from './bench/relayed.ts';
import { markdown, type Row } from './bench/report.ts';
import { benchScale } from './bench/scale.ts';
import { benchKernel } from './bench/services.ts';

const benches: Readonly<Record<string, (seconds: number) => Promise<Row[]>>> = {
  lan: benchLan,
  relayed: benchRelayed,
  peers: benchPeers,
  kernel: benchKernel,
  scale: benchScale,
  gateway: benchGateway,
};

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    only: { type: 'string', default: Object.keys(benches).join() },
  },
});
const names = values.only.split(',');
const unknown = names.filter((name) => !(name in benches));
if (unknown.length > 0) {
  console.error(`there is no bench ${unknown.join(', ')}; there are ${Object.keys(benches).join(', ')}`);
  process.exit(2);
}
console.log(
  `${cpus().length} cores (${cpus()[0]?.model}), Node ${process.version}, ${values.seconds} s each, client and servers on the same machine\n`,
);
const rows: Row[] = [];
for (const name of names) {
  rows.push(...((await benches[name]?.(Number(values.seconds))) ?? []));
  console.error(`${name} done`);
}
console.log(markdown(rows));
