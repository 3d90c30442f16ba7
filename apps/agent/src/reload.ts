import { isDeepStrictEqual } from 'node:util';
import type { AgentConfig, ConfigChange } from '@edgemesh/config';
import type { AgentModule } from './context.ts';

/** What a changed configuration asks for. */
export interface ReloadPlan {
  /** Modules to start anew. */
  readonly restart: readonly string[];
  /** Keys that only a restart of the agent applies. */
  readonly later: readonly string[];
}

/** Sorts changes by what they need; what is live is taken over by whoever reads it. */
export function planReload(
  changes: readonly ConfigChange[],
  modules: readonly Pick<AgentModule, 'name' | 'section'>[],
): ReloadPlan {
  const restart = new Set<string>();
  const later: string[] = [];
  for (const { path, apply } of changes) {
    if (apply === 'process') later.push(path);
    else if (apply === 'module') for (const name of ownersOf(path, modules)) restart.add(name);
  }
  return { restart: [...restart], later };
}

/** The modules with the longest section that the key is in. */
function ownersOf(path: string, modules: readonly Pick<AgentModule, 'name' | 'section'>[]): string[] {
  const near = modules.filter(({ section }) => section !== undefined && path.startsWith(`modules.${section}.`));
  const longest = Math.max(...near.map(({ section }) => section?.length ?? 0));
  return near.filter(({ section }) => section?.length === longest).map(({ name }) => name);
}

/**
 * What a changed list of relays needs: `others` are handed to the running tunnel; `own`: whether or where this node relays itself
 * has changed, which the tunnel learns when it starts.
 */
export function planRelays(
  before: Pick<AgentConfig, 'modules'>,
  after: Pick<AgentConfig, 'modules'>,
  nodeName: string,
): 'own' | 'others' | undefined {
  const [old, now] = [before.modules.edgeTunnel.relayNodes, after.modules.edgeTunnel.relayNodes];
  if (isDeepStrictEqual(old, now)) return undefined;
  const own = (nodes: typeof old) => nodes.filter((relay) => relay.nodeName === nodeName);
  return isDeepStrictEqual(own(old), own(now)) ? 'others' : 'own';
}
