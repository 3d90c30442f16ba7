/** Defaults and limits of the package. Each is an option of the gateway, by the same name. */
export const GATEWAY_DEFAULTS = {
  /** Milliseconds between two looks at the node's addresses. Node has no notice of changes; the look costs microseconds. */
  addressPollMs: 2_000,
  /** Milliseconds before a listener that could not be opened is tried again. */
  listenRetryMs: 5_000,
  /** Milliseconds that changes of the catalog are collected before routes are compiled again. */
  compileDelayMs: 20,
  /** Milliseconds for connections to end when their listener goes. Envoy's default is 600 s, a node does not stop that slowly. */
  drainMs: 10_000,
  /** Milliseconds for a TLS client to send its ClientHello. */
  helloTimeoutMs: 5_000,
  /** Milliseconds for the TLS handshake, ClientHello included. */
  handshakeTimeoutMs: 10_000,
  /** Bytes of a ClientHello, its records' headers included. Real ones are 200 to 2,000 bytes; post-quantum shares add 1,200. */
  maxHelloBytes: 16_384,
  /** Listeners at once: ports times addresses. */
  maxListeners: 512,
  /** Connections at once of all TLS, TCP and UDP listeners. HTTP counts on its own. */
  maxConnections: 8_192,
  /** Routes of all virtual hosts of one port; the youngest objects' routes are left out. */
  maxRoutesPerPort: 20_000,
  /** Conditions kept; the rest is counted. */
  maxConditions: 1_000,
  /** Secrets, ConfigMaps and namespaces of Pods that are followed. The Kubernetes source follows 256 at most. */
  maxFollowed: 256,
} as const;

/** Every limit with its unit; see {@link GATEWAY_DEFAULTS} for reasons. */
export type GatewayLimits = { readonly [name in keyof typeof GATEWAY_DEFAULTS]: number };

/** Limits with defaults filled in. */
export function gatewayLimits(given: Partial<GatewayLimits> = {}): GatewayLimits {
  return { ...GATEWAY_DEFAULTS, ...given };
}
