/** A kind the API serves. One stored object is served at every version. */
export interface KindSpec {
  /** API group; the empty string is the core group. */
  readonly group: string;
  /** Served versions, preferred one first. */
  readonly versions: readonly string[];
  readonly kind: string;
  /** Resource name in paths. */
  readonly plural: string;
  readonly namespaced: boolean;
  /** True for kinds that come from a CustomResourceDefinition: their lists carry `continue: ""` and typed items. */
  readonly custom: boolean;
  /** True when `/status` is a resource of its own. */
  readonly status: boolean;
  /** True when the server counts `metadata.generation`. */
  readonly generation: boolean;
  /** Field selectors beside metadata.name and metadata.namespace. */
  readonly fieldSelectors: readonly string[];
}

const core = (kind: string, plural: string, more: Partial<KindSpec> = {}): KindSpec => ({
  group: '',
  versions: ['v1'],
  kind,
  plural,
  namespaced: true,
  custom: false,
  status: false,
  generation: false,
  fieldSelectors: [],
  ...more,
});

const grouped = (group: string, versions: string[], kind: string, plural: string, more: Partial<KindSpec> = {}) =>
  core(kind, plural, { group, versions, generation: true, ...more });

/** A kind of a CustomResourceDefinition, with the usual traits filled in. */
export function customKind(
  spec: Pick<KindSpec, 'group' | 'versions' | 'kind' | 'plural'> & Partial<KindSpec>,
): KindSpec {
  return core(spec.kind, spec.plural, { custom: true, status: true, generation: true, ...spec });
}

const istio = (kind: string, plural: string) =>
  customKind({ group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], kind, plural });

const gatewayApi = (versions: string[], kind: string, plural: string, more: Partial<KindSpec> = {}) =>
  customKind({ group: 'gateway.networking.k8s.io', versions, kind, plural, ...more });

/** What a cluster with Istio's and the Gateway API's definitions serves, as far as the agents look. */
export const builtinKinds: readonly KindSpec[] = [
  core('Service', 'services', { status: true, fieldSelectors: ['spec.clusterIP', 'spec.type'] }),
  core('Endpoints', 'endpoints'),
  core('Node', 'nodes', { namespaced: false, status: true, fieldSelectors: ['spec.unschedulable'] }),
  core('Namespace', 'namespaces', { namespaced: false, status: true, fieldSelectors: ['status.phase'] }),
  core('Pod', 'pods', {
    status: true,
    generation: true,
    fieldSelectors: [
      'spec.nodeName',
      'spec.restartPolicy',
      'spec.schedulerName',
      'spec.serviceAccountName',
      'spec.hostNetwork',
      'status.phase',
      'status.podIP',
      'status.nominatedNodeName',
    ],
  }),
  core('Secret', 'secrets', { fieldSelectors: ['type'] }),
  core('ConfigMap', 'configmaps'),
  grouped('discovery.k8s.io', ['v1'], 'EndpointSlice', 'endpointslices'),
  grouped('coordination.k8s.io', ['v1'], 'Lease', 'leases', { generation: false }),
  grouped('networking.k8s.io', ['v1'], 'Ingress', 'ingresses', { status: true }),
  grouped('networking.k8s.io', ['v1'], 'IngressClass', 'ingressclasses', { namespaced: false }),
  grouped('networking.k8s.io', ['v1'], 'NetworkPolicy', 'networkpolicies'),
  istio('Gateway', 'gateways'),
  istio('VirtualService', 'virtualservices'),
  istio('DestinationRule', 'destinationrules'),
  gatewayApi(['v1', 'v1beta1'], 'GatewayClass', 'gatewayclasses', { namespaced: false }),
  gatewayApi(['v1', 'v1beta1'], 'Gateway', 'gateways'),
  gatewayApi(['v1', 'v1beta1'], 'HTTPRoute', 'httproutes'),
  gatewayApi(['v1'], 'GRPCRoute', 'grpcroutes'),
  gatewayApi(['v1', 'v1alpha3'], 'BackendTLSPolicy', 'backendtlspolicies'),
  gatewayApi(['v1beta1', 'v1alpha2'], 'ReferenceGrant', 'referencegrants', { status: false }),
  gatewayApi(['v1alpha3', 'v1alpha2'], 'TLSRoute', 'tlsroutes'),
  gatewayApi(['v1alpha2'], 'TCPRoute', 'tcproutes'),
  gatewayApi(['v1alpha2'], 'UDPRoute', 'udproutes'),
];

/** The kinds an API serves; grows and shrinks as definitions are installed and removed. */
export interface KindRegistry {
  readonly all: readonly KindSpec[];
  add(kind: KindSpec): void;
  /** Forgets a kind; its objects stay in the store, unreachable. */
  remove(group: string, plural: string): void;
  /** By resource, at a version; undefined where either is not served. */
  byResource(group: string, version: string, plural: string): KindSpec | undefined;
  /** By an object's type, at any served version. */
  byKind(apiVersion: string, kind: string): KindSpec | undefined;
  /** By kind name, `Kind.group` name, plural or `plural.group`, for test code. */
  find(name: string): KindSpec | undefined;
}

export function createKindRegistry(initial: readonly KindSpec[]): KindRegistry {
  let kinds: readonly KindSpec[] = [...initial];
  const namesOf = (kind: KindSpec) => [
    kind.kind,
    `${kind.kind}.${kind.group}`,
    kind.plural,
    `${kind.plural}.${kind.group}`,
  ];
  return {
    get all() {
      return kinds;
    },
    add(kind) {
      kinds = [...kinds.filter((k) => k.group !== kind.group || k.plural !== kind.plural), kind];
    },
    remove(group, plural) {
      kinds = kinds.filter((k) => k.group !== group || k.plural !== plural);
    },
    byResource: (group, version, plural) =>
      kinds.find((k) => k.group === group && k.plural === plural && k.versions.includes(version)),
    byKind(apiVersion, kind) {
      const { group, version } = splitApiVersion(apiVersion);
      return kinds.find((k) => k.kind === kind && k.group === group && k.versions.includes(version));
    },
    find: (name) => kinds.find((k) => namesOf(k).includes(name)),
  };
}

/** `networking.istio.io/v1` → group and version; `v1` is the core group. */
export function splitApiVersion(apiVersion: string): { group: string; version: string } {
  const slash = apiVersion.indexOf('/');
  return slash < 0
    ? { group: '', version: apiVersion }
    : { group: apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) };
}

/** The `apiVersion` of a group and a version. */
export function apiVersionOf(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`;
}
