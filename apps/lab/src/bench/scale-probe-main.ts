// Changes one Service again and again and watches, connection by connection, when the kernel leads to the new endpoint.
// Usage: node scale-probe-main.ts '{"clusterIP":"10.96.255.1","addresses":["10.0.0.1","10.0.0.2"],"port":8080,"rounds":50,...}'
// Prints one line of JSON: the milliseconds of each change, from before it is made to the first connection that is served by it.
import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** What the probe does; `objects` has the objects of each state, as JSON documents. */
export interface ProbePlan {
  readonly clusterIP: string;
  /** Pod addresses on this machine, one for each state. */
  readonly addresses: readonly [string, string];
  /** Of the pods. */
  readonly port: number;
  readonly objects: readonly [string, string];
  /** Where a state is told: the control server of the API fake, or a file in a folder of manifests. */
  readonly tell: { readonly control: string } | { readonly file: string };
  readonly rounds: number;
}

/** A change that has not come by then never will. */
const GIVE_UP_MS = 30_000;
/** Pauses are not all alike, so that the changes do not fall into step with any timer of the agent. */
const PAUSE_MS = { least: 120, spread: 160 };

const plan = JSON.parse(process.argv[2] as string) as ProbePlan;
for (const address of plan.addresses) {
  const server = createServer((socket) => socket.on('error', () => undefined).end(address));
  server.listen(plan.port, address);
  await once(server, 'listening');
}

/** Which endpoint serves a new connection; undefined when it is refused. */
function ask(): Promise<string | undefined> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(80, plan.clusterIP);
    socket.setEncoding('utf8').on('data', (text) => {
      answer += text;
    });
    socket.on('error', () => resolve(undefined));
    socket.on('end', () => resolve(answer));
  });
}

async function tell(state: 0 | 1): Promise<void> {
  const body = plan.objects[state];
  if ('control' in plan.tell) {
    const response = await fetch(`${plan.tell.control}/_control/apply`, { method: 'POST', body });
    if (!response.ok) throw new Error(`the API fake answers ${response.status}: ${await response.text()}`);
    return;
  }
  // Not a name that is read, until it is whole.
  await writeFile(`${plan.tell.file}.tmp`, body);
  await rename(`${plan.tell.file}.tmp`, plan.tell.file);
}

const times: number[] = [];
for (let round = 0; round < plan.rounds; round++) {
  const state = (round % 2) as 0 | 1;
  const started = performance.now();
  const told = tell(state);
  while ((await ask()) !== plan.addresses[state]) {
    if (performance.now() - started > GIVE_UP_MS)
      throw new Error(`change ${round} has not come after ${GIVE_UP_MS} ms`);
  }
  times.push(performance.now() - started);
  await told;
  await delay(PAUSE_MS.least + Math.random() * PAUSE_MS.spread);
}
console.log(JSON.stringify({ times }));
process.exit(0);
