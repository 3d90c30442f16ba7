import type { Metrics } from '@edgemesh/core';

/** What the gateway counts. Names are stable. */
export function gatewayMetrics(metrics: Metrics) {
  const connections = metrics.counter({
    name: 'edgemesh_gateway_tls_connections_total',
    help: 'Connections to TLS ports, by what became of them.',
    labels: ['result'],
  });
  return {
    listeners: metrics.gauge({
      name: 'edgemesh_gateway_listeners',
      help: 'Wanted listeners, by whether they are open.',
      labels: ['state'],
    }),
    conditions: metrics
      .gauge({ name: 'edgemesh_gateway_conditions', help: 'What objects ask for and do not get.' })
      .with(),
    compiles: metrics
      .counter({ name: 'edgemesh_gateway_compiles_total', help: 'Times that routes were compiled.' })
      .with(),
    compileSeconds: metrics
      .histogram({
        name: 'edgemesh_gateway_compile_seconds',
        help: 'Time to compile all routes.',
        buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2],
      })
      .with(),
    tlsResult: (result: TlsResult) => connections.with(result).add(),
  };
}

/** What became of a connection to a TLS port. */
export type TlsResult =
  | 'http'
  | 'tcp'
  | 'passthrough'
  | 'refused'
  | 'no-chain'
  | 'not-tls'
  | 'hello-timeout'
  | 'handshake-failed'
  | 'limit';

export type GatewayMetrics = ReturnType<typeof gatewayMetrics>;
