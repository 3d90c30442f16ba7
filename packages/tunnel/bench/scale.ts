/**
 * How a relay grows: nodes that wait on it, circuits that it splices, and how long all of them need to come back after
 * it was killed. All on loopback, in a handful of processes.
 *
 *   node --expose-gc --conditions=@edgemesh/source bench/scale.ts [--members 2000] [--circuits 5000] [--restart]
 *
 * Prints the relay's resident memory (after collections and some quiet seconds) at each step, and the slope.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { runCircuits, runMembers } from './scale-members.ts';
import { type RelayState, runRelay } from './scale-relay.ts';

/** As bin/edgemesh-server starts it. */
const SERVER_FLAGS = ['--max-semi-space-size=8'];
const MEMBERS_PER_PROCESS = 250;
const CIRCUITS_PER_STEP = 1_000;
const MEMBERS_PER_STEP = 500;

const start = (...args: (string | number)[]): ChildProcess =>
  fork(process.argv[1] as string, ['as', ...args.map(String)], { execArgv: [...process.execArgv, ...SERVER_FLAGS] });
const said = <T>(child: ChildProcess): Promise<T> => once(child, 'message').then(([body]) => body as T);
const ask = <T>(child: ChildProcess, message: object): Promise<T> => {
  const answer = said<T>(child);
  child.send(message);
  return answer;
};
const end = async (child: ChildProcess): Promise<void> => {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
};
const mb = (bytes: number) => (bytes / 1e6).toFixed(1);

async function report(relay: ChildProcess, what: string): Promise<RelayState> {
  const state = await ask<RelayState>(relay, { ask: 'state' });
  console.log(
    `| ${what} | ${mb(state.rss)} | ${mb(state.heapUsed)} of ${mb(state.heapTotal)} | ${mb(state.external)} | ` +
      `${mb(state.native)} | ${state.cpuPercent.toFixed(1)} |`,
  );
  return state;
}

/** The straight line through the points by least squares: what each unit costs, and how far the points stray. */
function fit(points: readonly (readonly [number, number])[]): { slope: number; strayPercent: number } {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [mx, my] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const slope =
    points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) / points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  const stray = Math.max(...points.map(([x, y]) => Math.abs(y - my - slope * (x - mx))));
  const range = slope * ((points.at(-1)?.[0] ?? 0) - (points[0]?.[0] ?? 0));
  return { slope, strayPercent: (100 * stray) / Math.abs(range) };
}

function tell(points: readonly (readonly [number, number])[], unit: string): void {
  const { slope, strayPercent } = fit(points);
  console.log(`${(slope / 1_000).toFixed(1)} KB per ${unit}, at most ${strayPercent.toFixed(0)} % off the line`);
}

async function measureCircuits(relay: ChildProcess, port: number, circuits: number): Promise<void> {
  const pair = start('circuits', port);
  await said(pair);
  const points: [number, number][] = [[0, (await report(relay, '0 circuits')).rss]];
  for (let open = CIRCUITS_PER_STEP; open <= circuits; open += CIRCUITS_PER_STEP) {
    await ask(pair, { open });
    points.push([open, (await report(relay, `${open} circuits`)).rss]);
  }
  tell(points, 'circuit');
  await end(pair);
  await report(relay, 'circuits gone');
}

async function measureMembers(relay: ChildProcess, port: number, members: number): Promise<ChildProcess[]> {
  const children: ChildProcess[] = [];
  const points: [number, number][] = [[0, (await report(relay, '0 members')).rss]];
  const handshakeMs: number[] = [];
  for (let first = 0; first < members; first += MEMBERS_PER_PROCESS) {
    const count = Math.min(MEMBERS_PER_PROCESS, members - first);
    const child = start('members', port, first, count);
    children.push(child);
    const connected = said(child);
    const { cpuMs: before } = await ask<{ cpuMs: number }>(relay, { ask: 'members' });
    await connected;
    const { cpuMs: after } = await ask<{ cpuMs: number }>(relay, { ask: 'members' });
    handshakeMs.push((after - before) / count);
    if ((first + count) % MEMBERS_PER_STEP > 0 && first + count < members) continue;
    points.push([first + count, (await report(relay, `${first + count} members`)).rss]);
  }
  tell(points, 'member');
  console.log(`CPU of the relay to take one in, ms: ${handshakeMs.map((ms) => ms.toFixed(1)).join(', ')}`);
  return children;
}

/** Kills the relay, starts it again at the same port, and waits until everybody is back. */
async function measureReturn(relay: ChildProcess, port: number, folder: string): Promise<ChildProcess> {
  const { members: before } = await ask<RelayState>(relay, { ask: 'members' });
  await end(relay);
  const successor = start('relay', port, folder);
  await said(successor);
  const began = performance.now();
  const marks = [0.5, 0.9, 0.99, 1];
  while (marks.length > 0) {
    await delay(50);
    const { members } = await ask<RelayState>(successor, { ask: 'members' });
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    while (marks.length > 0 && members >= (marks[0] as number) * before) {
      console.log(`${100 * (marks.shift() as number)} % of ${before} are back after ${seconds} s`);
    }
  }
  const { cpuMs } = await ask<{ cpuMs: number }>(successor, { ask: 'members' });
  console.log(`CPU of the relay meanwhile: ${(cpuMs / before).toFixed(1)} ms for each`);
  return successor;
}

async function measure(): Promise<void> {
  const { values } = parseArgs({
    options: {
      members: { type: 'string', default: '2000' },
      circuits: { type: 'string', default: '5000' },
      restart: { type: 'boolean', default: false },
      snapshot: { type: 'string' },
    },
  });
  const folder = await mkdtemp(join(tmpdir(), 'scale-'));
  let relay = start('relay', 0, folder);
  const { port } = await said<{ port: number }>(relay);
  console.log(
    '| relay with | RSS MB | heap MB | buffers MB | native MB | CPU % |\n| --- | --- | --- | --- | --- | --- |',
  );
  if (Number(values.circuits) > 0) await measureCircuits(relay, port, Number(values.circuits));
  const members = Number(values.members) > 0 ? await measureMembers(relay, port, Number(values.members)) : [];
  if (values.snapshot !== undefined) await ask(relay, { snapshot: values.snapshot });
  if (values.restart) relay = await measureReturn(relay, port, folder);
  for (const child of members) await end(child);
  await end(relay);
  await rm(folder, { recursive: true, force: true });
}

if (process.send !== undefined) process.on('disconnect', () => process.exit(0));
const [, , as, role, ...args] = process.argv;
if (as !== 'as') await measure();
else if (role === 'relay') await runRelay(Number(args[0]), args[1] as string);
else if (role === 'circuits') await runCircuits(Number(args[0]));
else await runMembers(Number(args[0]), Number(args[1]), Number(args[2]));
