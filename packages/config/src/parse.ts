import { Checker } from './check.ts';
import { ConfigError, type ConfigProblem } from './errors.ts';
import { checkAgentRelations, checkServerRelations } from './relations.ts';
import {
  type AgentConfig,
  type AgentKind,
  agentSchema,
  type ConfigKind,
  KINDS,
  MOVED,
  type ServerConfig,
  serverSchema,
} from './schema/kinds.ts';
import { EMPTY_MAP, type MapEntry, mergeTrees, sameKey, type Tree, TreeError, takeAt, treeAt, treeOf } from './tree.ts';
import { keyPlaces } from './walk.ts';
import { readYaml } from './yaml-tree.ts';

export interface ParseAgentOptions {
  /** Kind of a file that does not say it (the original's manifests do not). Default `EdgeMeshAgent`. */
  readonly kind?: AgentKind;
  /** Becomes `commonConfig.nodeName`, whatever the file says; NODE_NAME goes here. */
  readonly nodeName?: string;
  /** Becomes `commonConfig.namespace`, whatever the file says; NAMESPACE goes here. */
  readonly namespace?: string;
  /** Values that the file may change: for what is found out about the node, e.g. DNS on for edge nodes. */
  readonly defaults?: unknown;
  /** Values that win over the file: from the command line. Shaped like the file. */
  readonly overrides?: unknown;
}

export interface ParseServerOptions {
  /** Values that win over the file. */
  readonly overrides?: unknown;
}

/** A complete configuration, and what is odd about the text. */
export interface Parsed<C> {
  readonly config: C;
  readonly warnings: readonly ConfigProblem[];
}

/**
 * Reads an `EdgeMeshAgent` or `EdgeMeshGateway` file. Every key has a value afterwards.
 * @throws ConfigError with every problem at once
 */
export function parseAgentConfig(yamlText: string, options: ParseAgentOptions = {}): Parsed<AgentConfig> {
  const fallback = options.kind ?? 'EdgeMeshAgent';
  const common = { nodeName: options.nodeName || undefined, namespace: options.namespace || undefined };
  const { kind, tree, checker } = prepare(yamlText, [fallback, 'EdgeMeshAgent', 'EdgeMeshGateway'], agentSchema, [
    { name: 'defaults', value: options.defaults, below: true },
    { name: 'overrides', value: options.overrides },
    { name: 'options', value: { commonConfig: common } },
  ]);
  const read = checker.read(agentSchema, tree, '') as Omit<AgentConfig, 'kind'>;
  const config = { kind: kind as AgentKind, ...read };
  return finish(checker, checkAgentRelations(config, tree, checker));
}

/**
 * Reads an `EdgeMeshServer` file. Every key has a value afterwards.
 * @throws ConfigError with every problem at once
 */
export function parseServerConfig(yamlText: string, options: ParseServerOptions = {}): Parsed<ServerConfig> {
  const layers = [{ name: 'overrides', value: options.overrides }];
  const { tree, checker } = prepare(yamlText, ['EdgeMeshServer'], serverSchema, layers);
  const read = checker.read(serverSchema, tree, '') as Omit<ServerConfig, 'kind'>;
  const config: ServerConfig = { kind: 'EdgeMeshServer', ...read };
  checkServerRelations(config, checker);
  return finish(checker, config);
}

interface Layer {
  readonly name: string;
  readonly value: unknown;
  /** Under the file instead of over it. */
  readonly below?: boolean;
}

function prepare(
  yamlText: string,
  kinds: readonly [ConfigKind, ...ConfigKind[]],
  schema: typeof agentSchema | typeof serverSchema,
  layers: readonly Layer[],
) {
  const yaml = readYaml(yamlText);
  if ('problems' in yaml) throw new ConfigError('invalid', yaml.problems, { cause: yaml.cause });
  const checker = new Checker(keyPlaces(schema));
  const { kind, rest } = readKind(yaml.tree, kinds, checker);
  let tree = followMoves(rest, checker);
  for (const layer of layers) {
    const other = layerTree(layer, checker);
    tree = layer.below ? mergeTrees(other, tree) : mergeTrees(tree, other);
  }
  return { kind, tree, checker };
}

/** Checks and takes out `kind` and `apiVersion`. Without a kind the first one holds. */
function readKind(tree: Tree, kinds: readonly [ConfigKind, ...ConfigKind[]], checker: Checker) {
  if (tree.kind !== 'map') return { kind: kinds[0], rest: tree };
  const ofKind = takeAt(tree, ['kind']);
  const ofVersion = takeAt(ofKind.rest, ['apiVersion']);
  let kind = kinds[0];
  const found = scalarText(ofKind.taken);
  if (found !== undefined) {
    const known = kinds.find((name) => name === found);
    if (known === undefined) throw new ConfigError('invalid', [wrongKind(found, kinds, ofKind.taken)]);
    kind = known;
  }
  const version = scalarText(ofVersion.taken);
  const { apiVersion } = KINDS[kind];
  if (version !== undefined && version !== apiVersion) {
    checker.problem(
      'apiVersion',
      `expected ${apiVersion} for kind ${kind}; found ${JSON.stringify(version.slice(0, 80))}`,
      ofVersion.taken?.line,
    );
  }
  return { kind, rest: ofVersion.rest };
}

function scalarText(entry: MapEntry | undefined): string | undefined {
  if (entry === undefined || (entry.value.kind === 'scalar' && entry.value.value === null)) return undefined;
  return entry.value.kind === 'scalar' ? entry.value.source : `a ${entry.value.kind}`;
}

function wrongKind(found: string, kinds: readonly string[], entry: MapEntry | undefined): ConfigProblem {
  const hint =
    found === 'ConfigMap' ? '; this is the Kubernetes object around a configuration: give the text under its data' : '';
  const message = `expected ${[...new Set(kinds)].join(' or ')}; found ${JSON.stringify(found.slice(0, 80))}${hint}`;
  return { path: 'kind', message, ...(entry?.line === undefined ? {} : { line: entry.line }) };
}

/** Puts what stands under a former name to where it is looked for; the new name wins where both are given. */
function followMoves(tree: Tree, checker: Checker): Tree {
  return MOVED.reduce((current, { from, to, note }) => {
    const { rest, taken } = takeAt(current, from.split('.'));
    if (taken === undefined) return current;
    if (note !== undefined) checker.warn(from, note, taken.line);
    return mergeTrees(treeAt(to.split('.'), taken.value, taken.line), rest);
  }, tree);
}

function layerTree({ name, value }: Layer, checker: Checker): Tree {
  if (value === undefined || value === null) return EMPTY_MAP;
  try {
    const tree = treeOf(value);
    if (tree.kind === 'map')
      return {
        ...tree,
        entries: tree.entries.filter(({ key }) => !sameKey(key, 'kind') && !sameKey(key, 'apiVersion')),
      };
    checker.problem(name, `expected an object; found a ${tree.kind === 'list' ? 'list' : typeof value}`);
  } catch (error) {
    // Besides our own limits, an accessor or a proxy in the caller's object may throw anything.
    checker.problem(
      error instanceof TreeError ? `${name}.${error.path}` : name,
      error instanceof Error ? error.message : 'cannot be read',
    );
  }
  return EMPTY_MAP;
}

function finish<C>(checker: Checker, config: C): Parsed<C> {
  if (checker.problems.length > 0) throw new ConfigError('invalid', checker.problems);
  return { config, warnings: checker.warnings };
}
