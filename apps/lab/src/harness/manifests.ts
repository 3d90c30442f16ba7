import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface PortPlan {
  readonly name: string;
  readonly port: number;
  readonly targetPort?: number;
  readonly protocol?: 'TCP' | 'UDP';
  readonly appProtocol?: string;
}

export interface ServicePlan {
  readonly name: string;
  readonly namespace?: string;
  /** `None` for a headless Service. */
  readonly clusterIP: string;
  readonly ports: readonly PortPlan[];
  readonly endpoints: readonly { readonly address: string; readonly node: string; readonly hostname?: string }[];
  /** More of the Service's spec. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** The Service and EndpointSlice of a plan, as Kubernetes would have them. */
export function serviceObjects(plan: ServicePlan): object[] {
  const { name, namespace = 'default', clusterIP } = plan;
  const ports = plan.ports.map((port) => ({ protocol: 'TCP', targetPort: port.port, ...port }));
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      spec: { clusterIP, clusterIPs: [clusterIP], selector: { app: name }, ports, ...plan.spec },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-1`, namespace, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: ports.map(({ name: portName, targetPort, protocol }) => ({ name: portName, port: targetPort, protocol })),
      endpoints: plan.endpoints.map(({ address, node, hostname }) => ({
        addresses: [address],
        nodeName: node,
        ...(hostname === undefined ? {} : { hostname }),
        conditions: { ready: true },
      })),
    },
  ];
}

/** The v1 Endpoints of a plan, which a real cluster keeps beside the slices: metaServer serves only these rightly. */
export function endpointsObject(plan: ServicePlan): object {
  const { name, namespace = 'default' } = plan;
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name, namespace },
    subsets: [
      {
        addresses: plan.endpoints.map(({ address, node }) => ({ ip: address, nodeName: node })),
        ports: plan.ports.map(({ name: portName, port, targetPort = port, protocol = 'TCP' }) => ({
          name: portName,
          port: targetPort,
          protocol,
        })),
      },
    ],
  };
}

/** Everything that a cluster holds of a plan. */
export const clusterObjects = (plan: ServicePlan): object[] => [...serviceObjects(plan), endpointsObject(plan)];

/** Objects as documents of one file. JSON is YAML. */
export const manifestText = (objects: readonly object[]): string =>
  objects.map((object) => JSON.stringify(object)).join('\n---\n');

/** Writes objects into a folder that agents read, one file per name, each replaced at once. */
export async function writeManifests(
  folder: string,
  objects: Readonly<Record<string, readonly object[]>>,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, list] of Object.entries(objects)) {
    const file = join(folder, `${name}.yaml`);
    await writeFile(`${file}.tmp`, manifestText(list));
    await rename(`${file}.tmp`, file);
  }
}
