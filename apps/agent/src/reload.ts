import type { ConfigChange } from '@edgemesh/config';
import type { AgentModule } from './context.ts';

/** What a changed configuration asks for. */
export interface ReloadPlan {
  /** The list of relays is to be handed to the running tunnel. */
  readonly relays: boolean;
  /** Modules to start anew. */
  readonly restart: readonly string[];
  /** Keys that only a restart of the agent applies. */
  readonly later: readonly string[];
}

const RELAY_NODES = 'modules.edgeTunnel.relayNodes';
/** Keys of modules that other parts, made once, were built with. */
const MADE_AT_START = /\.(enable|listeners|directRouting|staleAfter|virtualAddresses\.\w+|serviceFilterMode)$/;

/** Sorts changes by what they need. */
export function planReload(
  changes: readonly ConfigChange[],
  modules: readonly Pick<AgentModule, 'name' | 'section'>[],
): ReloadPlan {
  const restart = new Set<string>();
  const later: string[] = [];
  for (const { path, apply, module } of changes) {
    if (path === RELAY_NODES) continue;
    if (apply === 'process' || MADE_AT_START.test(path)) later.push(path);
    else for (const { name, section } of modules) if (section !== undefined && section === module) restart.add(name);
  }
  return { relays: changes.some(({ path }) => path === RELAY_NODES), restart: [...restart], later };
}
