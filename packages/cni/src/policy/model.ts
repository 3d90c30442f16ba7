import { type Catalog, canonicalIp, type KubeObject } from '@edgemesh/core';

/** What policies need of the Kubernetes objects, read leniently: a malformed object must not stop the others. */

export type Labels = Readonly<Record<string, string>>;
type Json = Readonly<Record<string, unknown>>;

/** A label selector, networking.k8s.io style. */
export interface Selector {
  readonly matchLabels: Labels;
  readonly matchExpressions: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values: readonly string[];
  }[];
}

export interface PodInfo {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  readonly nodeName: string;
  /** Canonical addresses, IPv4 and IPv6. */
  readonly ips: readonly string[];
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

export interface Peer {
  readonly ipBlock?: { readonly cidr: string; readonly except: readonly string[] };
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
}

export interface PolicyPort {
  readonly protocol: string;
  /** A number, a name, or undefined for all ports of the protocol. */
  readonly port: number | string | undefined;
  readonly endPort: number | undefined;
}

export interface PolicyRule {
  /** Empty: everybody. */
  readonly peers: readonly Peer[];
  /** Empty: every port. */
  readonly ports: readonly PolicyPort[];
}

export interface PolicyInfo {
  readonly namespace: string;
  readonly name: string;
  readonly podSelector: Selector;
  /** Undefined: does not apply to this direction. */
  readonly ingress: readonly PolicyRule[] | undefined;
  readonly egress: readonly PolicyRule[] | undefined;
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const object = (value: unknown): Json => (isObject(value) ? value : {});
const objects = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isObject) : []);
const texts = (value: unknown): string[] => (Array.isArray(value) ? value.filter((v) => typeof v === 'string') : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

export function parseSelector(value: unknown): Selector {
  const { matchLabels, matchExpressions } = object(value);
  return {
    matchLabels: Object.fromEntries(Object.entries(object(matchLabels)).map(([key, label]) => [key, text(label)])),
    matchExpressions: objects(matchExpressions).map(({ key, operator, values }) => ({
      key: text(key),
      operator: text(operator),
      values: texts(values),
    })),
  };
}

/** True when the labels satisfy the selector; the empty selector takes all, an unknown operator none. */
export function selects({ matchLabels, matchExpressions }: Selector, labels: Labels): boolean {
  for (const [key, value] of Object.entries(matchLabels)) if (labels[key] !== value) return false;
  return matchExpressions.every(({ key, operator, values }) => {
    const value = labels[key];
    if (operator === 'In') return value !== undefined && values.includes(value);
    if (operator === 'NotIn') return value === undefined || !values.includes(value);
    if (operator === 'Exists') return value !== undefined;
    return operator === 'DoesNotExist' && value === undefined;
  });
}

/** Pods that have addresses of their own and still run. */
export function readPods(catalog: Catalog): PodInfo[] {
  const pods: PodInfo[] = [];
  for (const pod of catalog.objects.get('Pod')?.values() ?? []) {
    const spec = object(pod.spec);
    const status = object(pod.status);
    if (spec.hostNetwork === true || status.phase === 'Succeeded' || status.phase === 'Failed') continue;
    const listed = objects(status.podIPs).map(({ ip }) => text(ip));
    const ips = [...new Set([...listed, text(status.podIP)].flatMap((ip) => canonicalIp(ip) ?? []))];
    // Sidecars are init containers that go on running, and have ports too.
    const containers = [...objects(spec.containers), ...objects(spec.initContainers)];
    const ports = containers
      .flatMap((container) => objects(container.ports))
      .map(({ name, protocol, containerPort }) => ({
        name: text(name),
        protocol: text(protocol) || 'TCP',
        port: typeof containerPort === 'number' ? containerPort : 0,
      }));
    const { namespace = 'default', name, labels = {} } = pod.metadata;
    pods.push({ namespace, name, labels, nodeName: text(spec.nodeName), ips, ports });
  }
  return pods;
}

/** Labels of namespaces; Kubernetes adds the name as a label, older API servers do not. */
export function readNamespaces(catalog: Catalog): ReadonlyMap<string, Labels> {
  const namespaces = new Map<string, Labels>();
  for (const { metadata } of catalog.objects.get('Namespace')?.values() ?? []) {
    namespaces.set(metadata.name, { 'kubernetes.io/metadata.name': metadata.name, ...metadata.labels });
  }
  return namespaces;
}

export function readPolicies(catalog: Catalog): PolicyInfo[] {
  return [...(catalog.objects.get('NetworkPolicy.networking.k8s.io')?.values() ?? [])].map(readPolicy);
}

function readPolicy(policy: KubeObject): PolicyInfo {
  const spec = object(policy.spec);
  const types = texts(spec.policyTypes);
  const named = types.length > 0;
  const rules = (list: unknown, peers: 'from' | 'to') =>
    objects(list).map((rule) => ({
      peers: objects(rule[peers]).map(readPeer),
      ports: objects(rule.ports).map(readPort),
    }));
  const { namespace = 'default', name } = policy.metadata;
  return {
    namespace,
    name,
    podSelector: parseSelector(spec.podSelector),
    // Without policyTypes: always ingress, and egress where there is an egress section.
    ingress: !named || types.includes('Ingress') ? rules(spec.ingress, 'from') : undefined,
    egress: (named ? types.includes('Egress') : spec.egress !== undefined) ? rules(spec.egress, 'to') : undefined,
  };
}

function readPeer({ ipBlock, podSelector, namespaceSelector }: Json): Peer {
  return {
    ...(isObject(ipBlock) ? { ipBlock: { cidr: text(ipBlock.cidr), except: texts(ipBlock.except) } } : {}),
    ...(isObject(podSelector) ? { podSelector: parseSelector(podSelector) } : {}),
    ...(isObject(namespaceSelector) ? { namespaceSelector: parseSelector(namespaceSelector) } : {}),
  };
}

function readPort({ protocol, port, endPort }: Json): PolicyPort {
  return {
    protocol: text(protocol) || 'TCP',
    port: typeof port === 'number' || (typeof port === 'string' && port !== '') ? port : undefined,
    endPort: typeof endPort === 'number' ? endPort : undefined,
  };
}
