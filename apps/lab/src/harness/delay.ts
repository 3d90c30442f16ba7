import { fileURLToPath } from 'node:url';
import type { LabMachine, LabProcess } from '@edgemesh/testkit/netns';

const DEVICE = 'delay0';
const TABLE = '77';

/**
 * Makes a router (of kind `routed`) hold every packet that it forwards, either way, for this long: it goes through a TUN
 * device and a process behind it. Stands in for netem, which the kernels here do not have.
 */
export async function delayPackets(router: LabMachine, oneWayMs: number): Promise<LabProcess> {
  const process = router.node(fileURLToPath(new URL('./delay-main.ts', import.meta.url)), [DEVICE, String(oneWayMs)]);
  await process.waitForLine('ready');
  for (const name of ['all', DEVICE]) await router.must('sysctl', ['-qw', `net.ipv4.conf.${name}.rp_filter=0`]);
  await router.must('ip', ['route', 'add', 'default', 'dev', DEVICE, 'table', TABLE]);
  for (const iif of ['lan0', 'wan0']) await router.must('ip', ['rule', 'add', 'iif', iif, 'lookup', TABLE]);
  return process;
}
