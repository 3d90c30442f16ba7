/** A server with 1,000 Services for `dnsperf`; prints its port. `pnpm exec node --conditions=@edgemesh/source bench/server.ts [port]` */

import { createDnsServer } from '../src/index.ts';
import { endpoint, fakeView, service } from '../test/catalog.ts';

const services = Array.from({ length: 1_000 }, (_, i) =>
  service(`ns${i % 20}`, `svc${i}`, { clusterIPs: [`10.96.${i >> 8}.${i & 255}`] }),
);
const headless = service('ns0', 'headless', { headless: true });
const endpoints = Array.from({ length: 8 }, (_, i) => endpoint(`10.244.0.${i + 1}`, { hostname: `pod-${i}` }));
const upstreams = process.argv[3] === undefined ? [] : [process.argv[3]];
const server = await createDnsServer(
  { listen: [{ address: '127.0.0.1', port: Number(process.argv[2] ?? 0) }], upstreams },
  { view: fakeView({ services: [...services, headless], endpoints: { 'ns0/headless': endpoints } }) },
);
process.stdout.write(`${server.addresses[0]?.port}\n`);
const started = process.cpuUsage();
process.once('SIGTERM', () => {
  const { user, system } = process.cpuUsage(started);
  process.stderr.write(`cpu ${Math.round(user / 1e3)} ms user, ${Math.round(system / 1e3)} ms system\n`);
  process.stderr.write(`${JSON.stringify(server.status())} rss ${Math.round(process.memoryUsage().rss / 1e6)} MB\n`);
  void server[Symbol.asyncDispose]();
});
