// What the kernel is to do for Services, as plain data: one package plans it, another writes it into nftables.
/** A routable endpoint: the kernel delivers to it without the agent. */
export interface RuleEndpoint {
  readonly address: string;
  readonly port: number;
  /** It runs on this node, so a pod that reaches itself through the Service needs masquerading. */
  readonly local: boolean;
}

/** Who a frontend answers: everybody, or (external traffic policy Local) only clients from outside the cluster. */
export type RuleOrigin = 'any' | 'external';

/** Where clients of a Service port knock. */
export type RuleFrontend =
  | {
      readonly kind: 'address';
      readonly address: string;
      readonly port: number;
      readonly origin: RuleOrigin;
      /** Hide the client's address, so that answers come back through this node. */
      readonly masquerade: boolean;
      /** CIDRs that may use it; absent or empty: everybody. */
      readonly sourceRanges?: readonly string[];
    }
  | {
      /** A port on every address of the node. */
      readonly kind: 'nodePort';
      readonly port: number;
      readonly origin: RuleOrigin;
      readonly masquerade: boolean;
    };

/** How the kernel chooses. Whatever it cannot do goes to the listener (`routable` empty, `tunnelled` 1). */
export type RulePick =
  | { readonly kind: 'random' }
  | { readonly kind: 'roundRobin' }
  | { readonly kind: 'clientIP'; readonly timeoutSeconds: number };

/**
 * The kernel's part of one Service port and address family, as plain data. Of each `routable.length + tunnelled`
 * connections, `tunnelled` go to the listener, where the agent picks among the endpoints that need the tunnel.
 */
export interface ServiceRule {
  /** Unique and stable: rules are compared by it. */
  readonly key: string;
  readonly family: 4 | 6;
  readonly protocol: 'TCP' | 'UDP';
  readonly frontends: readonly RuleFrontend[];
  /** Canonical order; the address family of the rule. */
  readonly routable: readonly RuleEndpoint[];
  readonly tunnelled: number;
  /** Where the agent listens; required when `tunnelled` is not 0. */
  readonly listener?: { readonly address: string; readonly port: number };
  readonly pick: RulePick;
  /** What clients get when there is no endpoint at all. */
  readonly whenEmpty: 'reject' | 'drop';
}

/** Traffic that is never touched: a range, an address with protocol and port, or a port on this node's own addresses. */
export type RuleExclusion =
  | { readonly kind: 'range'; readonly cidr: string }
  | { readonly kind: 'address'; readonly address: string; readonly protocol: 'TCP' | 'UDP'; readonly port: number }
  | { readonly kind: 'localPort'; readonly protocol: 'TCP' | 'UDP'; readonly port: number };

/** Everything that the kernel shall do about Services. Immutable: unchanged rules may keep their identity. */
export interface RulesPlan {
  readonly rules: readonly ServiceRule[];
  /** Highest precedence. */
  readonly exclusions: readonly RuleExclusion[];
  /** Where this node's pods live (CIDRs): their traffic counts as internal for external traffic policy Local. */
  readonly internalSources: readonly string[];
}

/** The plan that does nothing. */
export const EMPTY_PLAN: RulesPlan = Object.freeze({ rules: [], exclusions: [], internalSources: [] });
