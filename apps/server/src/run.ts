import { hostname } from 'node:os';
import {
  ConfigError,
  formatProblem,
  parseServerConfig,
  readConfigFile,
  renderDefaultConfig,
  type ServerConfig,
  splitHostPort,
} from '@edgemesh/config';
import { type Logger, type Metrics, messageOf, systemClock } from '@edgemesh/core';
import { createAdminServer, createHealth, createLogger, createMetrics, observeProcess } from '@edgemesh/telemetry';
import { createRelayServer, type RelayServer, readMeshSecrets } from '@edgemesh/tunnel';
import { type Command, readArguments, USAGE } from './args.ts';
import { giveBackMemory } from './give-back-memory.ts';

export const VERSION = '0.1.0';

/** What the user did wrong, and what to do. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

/** Runs the command line to its end; resolves with the exit code. */
export async function run(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  const command = parse(args, env);
  if (command.kind === 'print') {
    const texts = { version: VERSION, defaultconfig: renderDefaultConfig('EdgeMeshServer').trimEnd(), help: USAGE };
    console.log(texts[command.what]);
    return 0;
  }
  const config = await loadConfig(command);
  const log = createLogger({
    level: config.logLevel,
    format: config.logFormat,
    write: (line) => process.stdout.write(line),
  });
  await serve(config, command.nodeName ?? hostname(), log);
  return 0;
}

function parse(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Command {
  try {
    return readArguments(args, env);
  } catch (error) {
    throw new CommandError(`${messageOf(error)}\n\n${USAGE}`);
  }
}

async function loadConfig(command: Extract<Command, { kind: 'run' }>): Promise<ServerConfig> {
  try {
    const text = command.configFile === undefined ? '' : await readConfigFile(command.configFile);
    const { config, warnings } = parseServerConfig(text, { overrides: command.overrides });
    for (const warning of warnings) console.error(`warning: ${formatProblem(warning)}`);
    return config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new CommandError(error.problems.map(formatProblem).join('\n'));
  }
}

/** Relays until a signal comes. */
async function serve(config: ServerConfig, nodeName: string, log: Logger): Promise<void> {
  await using parts = new AsyncDisposableStack();
  const metrics = createMetrics();
  parts.use(observeProcess(metrics));
  const health = createHealth();
  const module = health.register('relay');
  const relay = parts.use(await startRelay(config, nodeName, { log, metrics }));
  module.set('ready');
  const load = () => {
    const { circuits = 0, libp2pCircuits = 0 } = relay.relayStatus() ?? {};
    return { circuits: circuits + libp2pCircuits, nodes: relay.control.connectedNodes };
  };
  parts.use(giveBackMemory({ load, log, clock: systemClock }));
  const started = systemClock.now();
  const status = () => ({
    node: nodeName,
    version: VERSION,
    peerId: relay.peerId,
    uptimeMs: Math.round(systemClock.now() - started),
    modules: health.modules,
    relay: relay.relayStatus(),
    nodes: relay.control.records().length,
    connectedNodes: relay.control.connectedNodes,
  });
  const listen = splitHostPort(config.adminListen);
  if (listen !== undefined) {
    parts.use(await createAdminServer({ listen, health, metrics, status, log }).catch(refuse('adminListen')));
  }
  log.info('relay is listening', { addresses: relay.listenAddresses, peerId: relay.peerId, node: nodeName });
  const signal = await nextSignal();
  log.info('stopping', { signal });
}

function startRelay(
  config: ServerConfig,
  nodeName: string,
  deps: { log: Logger; metrics: Metrics },
): Promise<RelayServer> {
  const { relay } = config;
  const start = async () =>
    createRelayServer(
      {
        nodeName,
        stateDir: `${config.dataDir}/tunnel`,
        secrets: await readMeshSecrets(config.psk, config.rendezvous),
        relay: {
          maxReservations: relay.maxReservations,
          maxCircuits: relay.maxCircuits,
          maxCircuitsPerPeer: relay.maxCircuitsPerPeer,
          maxBytesPerSecondPerPeer: relay.bandwidthPerPeer,
          maxBytesPerSecond: relay.bandwidth,
          circuitIdleMs: relay.idleTimeout * 1000,
        },
        control: {
          listen: [splitHostPort(config.listen) as { host: string; port: number }], // checked by the schema
          advertise: config.advertiseAddress,
          peers: config.staticPeers,
          dht: config.dht === 'on',
          mdns: false,
        },
      },
      deps,
    );
  return start().catch(refuse('the server cannot start'));
}

/** Turns a failure of the start into a message for the user. */
function refuse(what: string): (error: unknown) => never {
  return (error) => {
    throw new CommandError(`${what}: ${messageOf(error)}`);
  };
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(signal));
  });
}
