import type { Endpoint } from './endpoint.ts';

/** What is known of one connection or request when its endpoint is chosen. */
export interface Flow {
  /** Client address without port; persistence is by address only. */
  readonly sourceIp?: string;
  /** Reads a request header (lower-case name). Absent on plain TCP and UDP. */
  readonly header?: (name: string) => string | undefined;
  /** Reads a cookie. */
  readonly cookie?: (name: string) => string | undefined;
  /** Reads a query parameter. */
  readonly query?: (name: string) => string | undefined;
}

/** How a dial or a request to an endpoint went. */
export type Outcome =
  | { readonly kind: 'success'; readonly latencyMs?: number }
  | { readonly kind: 'connect-failure' }
  | { readonly kind: 'response'; readonly status: number }
  /** Nobody used it, but a check that had failed passes again: what is held against it is out of date. */
  | { readonly kind: 'recovered' };

/**
 * Chooses one endpoint of one Service port. Choosing is not dialling. One balancer serves one Service port and keeps
 * what state the policy needs; the candidates come anew with each call and are compared by {@link endpointKey}.
 */
export interface Balancer {
  /**
   * @param candidates usable endpoints, canonical order; the array is immutable, so identity tells whether it changed
   * @param exclude endpoints already tried for this flow, by endpointKey
   * @returns undefined when nothing is left to choose
   */
  pick(candidates: readonly Endpoint[], flow: Flow, exclude?: ReadonlySet<string>): Endpoint | undefined;
  /** Feedback for policies that learn (least request, outlier ejection). */
  report?(endpoint: Endpoint, outcome: Outcome): void;
  /** For policies that count what is in flight: begin is called when a picked endpoint is used, end when it is done. */
  begin?(endpoint: Endpoint): void;
  end?(endpoint: Endpoint): void;
}
