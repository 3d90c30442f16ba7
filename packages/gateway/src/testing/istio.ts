/** Objects of Istio for tests, as short as a table needs them. */

let age = 0;

function metadata(key: string) {
  const [namespace, name] = key.split('/') as [string, string];
  age++;
  return { namespace, name, creationTimestamp: new Date(age * 1000).toISOString() };
}

/** A Gateway of these servers; later ones are younger. */
export function istioGateway(
  key: string,
  servers: readonly unknown[],
  selector: object = { kubeedge: 'edgemesh-gateway' },
) {
  return {
    apiVersion: 'networking.istio.io/v1alpha3',
    kind: 'Gateway',
    metadata: metadata(key),
    spec: { selector, servers },
  };
}

/** A server of plain HTTP. */
export function httpServer(hosts: readonly string[], port = 80, more: object = {}) {
  return { port: { number: port, name: `http-${port}`, protocol: 'HTTP' }, hosts, ...more };
}

/** A VirtualService; later ones are younger. */
export function virtualService(key: string, spec: object) {
  return { apiVersion: 'networking.istio.io/v1beta1', kind: 'VirtualService', metadata: metadata(key), spec };
}

/** A route to one Service. */
export function to(host: string, port?: number) {
  return { route: [{ destination: { host, ...(port !== undefined && { port: { number: port } }) } }] };
}
