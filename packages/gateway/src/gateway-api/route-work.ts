import type { KubeObject } from '@edgemesh/core';
import type { CompileContext } from '../common/context.ts';
import type { readL4Backends } from './backend.ts';
import type { Listener } from './listener.ts';
import type { PolicyUses } from './policy-uses.ts';
import type { RankedRoute } from './precedence.ts';

/** What routes bring to listeners. */
export interface RouteWork {
  readonly context: CompileContext;
  readonly controller: string;
  readonly policies: PolicyUses;
  /** By listener and hostname. */
  readonly http: Map<Listener, Map<string, RankedRoute[]>>;
  readonly l4: Map<Listener, L4Route[]>;
}

/** The first rule of a TLS, TCP or UDP route, at a listener. */
export interface L4Route {
  readonly owner: KubeObject;
  readonly hosts: readonly string[];
  readonly backends: ReturnType<typeof readL4Backends>;
}
