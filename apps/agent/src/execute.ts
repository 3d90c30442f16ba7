import {
  type AgentConfig,
  ConfigError,
  formatProblem,
  parseAgentConfig,
  readConfigFile,
  renderDefaultConfig,
  renderMinConfig,
  watchConfigFile,
} from '@edgemesh/config';
import { messageOf } from '@edgemesh/core';
import { cleanupAll, createRunner } from '@edgemesh/linux';
import { createLogger, createMetrics } from '@edgemesh/telemetry';
import { createAgent } from './agent.ts';
import { type Command, USAGE, VERSION } from './args.ts';
import { cleanupPods } from './pods/cleanup-pods.ts';

/** What the user did wrong, and what to do. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly showUsage: boolean;

  constructor(message: string, showUsage = false) {
    super(message);
    this.showUsage = showUsage;
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Runs a command to its end; resolves with the exit code. */
export async function execute(command: Command, env: Environment): Promise<number> {
  switch (command.kind) {
    case 'wrong':
      throw new CommandError(command.message, true);
    case 'print':
      console.log(printed(command.what));
      return 0;
    case 'cleanup':
      return cleanup(command, env);
    case 'run':
      await run(command, env);
      return 0;
  }
}

function printed(what: Extract<Command, { kind: 'print' }>['what']): string {
  const texts = {
    version: () => VERSION,
    defaultconfig: () => renderDefaultConfig('EdgeMeshAgent').trimEnd(),
    minconfig: () => renderMinConfig('EdgeMeshAgent').trimEnd(),
    help: () => USAGE,
  };
  return texts[what]();
}

/** Reads and checks the file. @throws CommandError with every problem and its path */
export async function loadConfig(configFile: string, env: Environment): Promise<{ config: AgentConfig; text: string }> {
  try {
    const text = await readConfigFile(configFile);
    const { config, warnings } = parse(text, env);
    for (const warning of warnings) console.error(`warning: ${formatProblem(warning)}`);
    return { config, text };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const hint = error.code === 'unreadable' ? '\nMake one:  edgemesh-agent --minconfig > FILE' : '';
    throw new CommandError(error.problems.map(formatProblem).join('\n') + hint);
  }
}

function parse(text: string, env: Environment) {
  const { NODE_NAME: nodeName, NAMESPACE: namespace, EDGEMESH_DATA_DIR: dataDir, KUBERNETES_SERVICE_HOST } = env;
  return parseAgentConfig(text, {
    ...(nodeName && { nodeName }),
    ...(namespace && { namespace }),
    // As the original: on an edge node, which has no API server in its environment, DNS is on unless the file says no.
    ...(!KUBERNETES_SERVICE_HOST && { defaults: { modules: { edgeDNS: { enable: true } } } }),
    ...(dataDir && { overrides: { commonConfig: { dataDir } } }),
  });
}

async function run(command: Extract<Command, { kind: 'run' }>, env: Environment): Promise<void> {
  const { config, text } = await loadConfig(command.configFile, env);
  const { nodeName, logLevel: level, logFormat: format } = config.commonConfig;
  if (nodeName === '')
    throw new CommandError('the name of this node is not known: set NODE_NAME or commonConfig.nodeName');
  const log = createLogger({ level, format, write: (line) => process.stdout.write(line) });
  const metrics = createMetrics();
  await using agent = await createAgent({ config, nodeName, env, log, metrics });
  await using _watch = await watchConfigFile(
    command.configFile,
    ({ config: next }: ReturnType<typeof parse>) => {
      log.setLevel(next.commonConfig.logLevel);
      agent.reload(next);
    },
    {
      parse: (changed) => parse(changed, env),
      currentText: text,
      onError: (error) =>
        log.error('the configuration file is bad, the old one stays in use', {
          problems: error.problems.map(formatProblem),
        }),
      log,
    },
  );
  log.info('agent is ready', { node: nodeName, version: VERSION, admin: config.commonConfig.adminListen || 'off' });
  const signal = await nextSignal();
  log.info('stopping', { signal });
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(signal));
  });
}

async function cleanup(command: Extract<Command, { kind: 'cleanup' }>, env: Environment): Promise<number> {
  const linkName = command.explicit
    ? (await loadConfig(command.configFile, env)).config.commonConfig.bridgeDeviceName
    : undefined;
  const runner = createRunner();
  const found = await cleanupAll(runner, linkName === undefined ? {} : { linkName }).catch((error: unknown) => {
    throw new CommandError(`cleanup failed: ${messageOf(error)}`);
  });
  const steps = [...found, ...(await cleanupPods(runner))];
  for (const { what, result } of steps) console.log(`${what}: ${result}`);
  return steps.every(({ result }) => /^(removed|absent|found )/.test(result)) ? 0 : 1;
}
