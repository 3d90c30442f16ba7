/** The process under measurement of `scale.ts`: one relay, and answers to what it holds. */
import { setTimeout as delay } from 'node:timers/promises';
import { writeHeapSnapshot } from 'node:v8';
import { type Metrics, noMetrics } from '@edgemesh/core';
import { createRelayServer, type RelayServer } from '../src/relay-server.ts';
import { SECRET } from './scale-members.ts';

/** What a relay holds after it was left alone for a moment. */
export interface RelayState {
  readonly rss: number;
  readonly heapUsed: number;
  readonly heapTotal: number;
  readonly external: number;
  /** Native memory outside of V8's heap and its buffers. */
  readonly native: number;
  readonly cpuPercent: number;
  readonly members: number;
  readonly circuits: number;
  readonly records: number;
}

/** Quiet time in which the processor's share is taken, in milliseconds: some rounds of pings. */
const QUIET_MS = 4_000;

/** Serves until the parent is gone. `port` 0 takes any. */
export async function runRelay(port: number, stateDir: string): Promise<void> {
  const gauges = new Map<string, () => number>();
  const metrics: Metrics = { ...noMetrics, observe: ({ name }, read) => void gauges.set(name, read as () => number) };
  const members = () => gauges.get('edgemesh_control_peers')?.() ?? 0;
  const relay = await createRelayServer(
    {
      nodeName: 'relay',
      stateDir,
      secrets: [SECRET],
      relay: { maxCircuits: 100_000, maxCircuitsPerPeer: 100_000, circuitIdleMs: 3_600_000, maxReservations: 100_000 },
      control: {
        listen: [{ host: '127.0.0.1', port }],
        mdns: false,
        tunables: { port: { preambleTimeoutMs: 5_000, maxPendingSockets: 4_096, maxSocketsPerIp: 100_000 } },
      },
    },
    { metrics },
  );
  process.on('message', async (message: { ask?: string; snapshot?: string }) => {
    if (message.snapshot !== undefined) process.send?.({ file: writeHeapSnapshot(message.snapshot) });
    if (message.ask === 'members')
      process.send?.({ members: members(), cpuMs: process.cpuUsage().user / 1e3 + process.cpuUsage().system / 1e3 });
    if (message.ask === 'state') process.send?.(await stateOf(relay, members));
  });
  process.send?.({ port: relay.listenAddresses[0]?.port ?? 0 });
}

async function stateOf(relay: RelayServer, members: () => number): Promise<RelayState> {
  global.gc?.();
  const [before, began] = [process.cpuUsage(), performance.now()];
  await delay(QUIET_MS);
  const { user, system } = process.cpuUsage(before);
  const cpuPercent = (user + system) / (performance.now() - began) / 10;
  // the second collection returns the pages that the first has emptied
  for (let i = 0; i < 3; i++) {
    global.gc?.();
    await delay(200);
  }
  const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
  const circuits = relay.relayStatus()?.circuits ?? 0;
  const native = rss - heapTotal - external;
  return {
    ...{ rss, heapUsed, heapTotal, external, native, cpuPercent },
    ...{ members: members(), circuits, records: relay.control.records().length },
  };
}
