/** The GatewayClass `edge`, which is ours. */
export const GATEWAY_CLASS = {
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'GatewayClass',
  metadata: { name: 'edge' },
  spec: { controllerName: 'edgemesh.kubeedge.io/gateway' },
};
