// Delays every packet that passes through it: node delay-main.ts <device> <one-way delay in ms>. See delay.ts.
import { openTun } from '@edgemesh/linux';

const [device = '', delayMs = '0'] = process.argv.slice(2);
const delay = Number(delayMs);
/** What waits; beyond this many packets a router would drop too. */
const MAX_PACKETS = 20_000;
const queue: { readonly due: number; readonly frame: Buffer }[] = [];
let head = 0;
let waiting = false;

const tun = await openTun({ name: device, mtu: 1_500, queueLength: 10_000 });
tun.start((frame) => {
  if (queue.length - head >= MAX_PACKETS) return;
  queue.push({ due: performance.now() + delay, frame: Buffer.from(frame) });
  if (!waiting) setTimeout(release, delay);
  waiting = true;
});

function release(): void {
  const now = performance.now();
  for (let next = queue[head]; next !== undefined && next.due <= now + 0.5; next = queue[head]) {
    tun.write(next.frame);
    head++;
  }
  if (head > 1_024 || head === queue.length) {
    queue.splice(0, head);
    head = 0;
  }
  const next = queue[head];
  waiting = next !== undefined;
  if (next !== undefined) setTimeout(release, Math.max(0, next.due - performance.now()));
}

console.log('ready');
process.on('SIGTERM', () => process.exit(0));
