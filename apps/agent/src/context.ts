import type { AgentConfig } from '@edgemesh/config';
import type { CatalogView, Logger, Metrics } from '@edgemesh/core';

/** What every module of the agent is started with. */
export interface AgentContext {
  readonly config: AgentConfig;
  readonly nodeName: string;
  readonly view: CatalogView;
  readonly log: Logger;
  readonly metrics: Metrics;
}
