import { AgentError, ask, type Explanation, type Status } from './agent-client.ts';
import { type Command, USAGE } from './args.ts';
import { examine, examineNames, showFindings } from './doctor.ts';
import { ping } from './ping.ts';
import { showStatus } from './status.ts';
import { showExplanation } from './why.ts';

/** Where the words go. */
export interface Output {
  readonly print: (text: string) => void;
  readonly complain: (text: string) => void;
}

/** Runs one command. Returns the exit code. */
export async function run(command: Command, output: Output): Promise<number> {
  if (command.kind === 'help') {
    output.print(USAGE);
    return 0;
  }
  if (command.kind === 'wrong') {
    output.complain(`edgemesh: ${command.message}\n\n${USAGE}`);
    return 2;
  }
  try {
    return (await answer(command, output)) ? 0 : 1;
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    output.complain(`edgemesh: ${error.message}`);
    return 1;
  }
}

type Question = Exclude<Command, { kind: 'help' | 'wrong' }>;

/** True when all is well. */
async function answer(command: Question, { print }: Output): Promise<boolean> {
  const { admin, json } = command;
  const show = <T>(value: T, render: (value: T) => string) =>
    print(json ? JSON.stringify(value, null, 2) : render(value));
  switch (command.kind) {
    case 'status': {
      const status = await ask<Status>(admin, '/status');
      show(status, showStatus);
      return status.modules.every(({ state }) => state === 'ready');
    }
    case 'why': {
      const { service, namespace } = command;
      const explanation = await ask<Explanation>(admin, '/explain', { service, ...(namespace && { namespace }) });
      show(explanation, showExplanation);
      return explanation.problems.length === 0;
    }
    case 'ping':
      return ping({ ...command, print });
    case 'doctor': {
      const status = await ask<Status>(admin, '/status');
      const findings = [...examine(status), ...(await examineNames(status))];
      show(findings, showFindings);
      return findings.every(({ level }) => level !== 'error');
    }
  }
}
