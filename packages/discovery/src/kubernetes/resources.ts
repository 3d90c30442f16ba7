import type { GroupKind } from '@edgemesh/core';
import type { ListScope } from '../source.ts';

/** A resource to list and watch. */
export interface ResourceSpec {
  /** Empty for the core group. */
  readonly group: string;
  /** Served versions to try, preferred first. */
  readonly versions: readonly string[];
  /** Name in paths: `services`. */
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** True when the server may not have it (a CRD): its absence is no error and is looked at again now and then. */
  readonly optional?: boolean;
  /** Only these objects, in the API's syntax: `app=web,!hidden`. */
  readonly labelSelector?: string;
  /** Only these objects, by fields that the API server can select by. A metaServer cannot, and is not asked to. */
  readonly fieldSelector?: string;
  /** One namespace, or one object. */
  readonly scope?: ListScope;
  /** Read instead where the server does not have this one. */
  readonly fallback?: ResourceSpec;
}

const core = (kind: string, plural: string, namespaced: boolean): ResourceSpec => ({
  group: '',
  versions: ['v1'],
  plural,
  kind,
  namespaced,
});

/** core/v1 Services. */
export const SERVICES = core('Service', 'services', true);
/** core/v1 Endpoints, for servers without EndpointSlices and for metaServers. */
export const ENDPOINTS = core('Endpoints', 'endpoints', true);
/** core/v1 Nodes. */
export const NODES = core('Node', 'nodes', false);
/** core/v1 Namespaces. */
export const NAMESPACES = core('Namespace', 'namespaces', false);
/** core/v1 Pods that have not ended; only for those who need them, there are many. */
export const PODS: ResourceSpec = {
  ...core('Pod', 'pods', true),
  fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed',
};
/** What is followed in parts, see `follow`: core/v1 Secrets and ConfigMaps by name, Pods by namespace. */
export const FOLLOWED_RESOURCES: Readonly<Record<'Secret' | 'ConfigMap' | 'Pod', ResourceSpec>> = {
  Secret: core('Secret', 'secrets', true),
  ConfigMap: core('ConfigMap', 'configmaps', true),
  Pod: PODS,
};

/** EndpointSlices, or Endpoints on a server without them (before Kubernetes 1.21). */
export const ENDPOINT_SLICES: ResourceSpec = {
  group: 'discovery.k8s.io',
  versions: ['v1'],
  plural: 'endpointslices',
  kind: 'EndpointSlice',
  namespaced: true,
  optional: true,
  fallback: ENDPOINTS,
};

const istio = (kind: string, plural: string): ResourceSpec => ({
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  plural,
  kind,
  namespaced: true,
  optional: true,
});

/** Istio's traffic resources, as far as EdgeMesh reads them. */
export const ISTIO_RESOURCES: readonly ResourceSpec[] = [
  istio('DestinationRule', 'destinationrules'),
  istio('Gateway', 'gateways'),
  istio('VirtualService', 'virtualservices'),
];

const gatewayApi = (kind: string, plural: string, versions: readonly string[], namespaced = true): ResourceSpec => ({
  group: 'gateway.networking.k8s.io',
  versions,
  plural,
  kind,
  namespaced,
  optional: true,
});

/** The Kubernetes Gateway API. */
export const GATEWAY_API_RESOURCES: readonly ResourceSpec[] = [
  gatewayApi('GatewayClass', 'gatewayclasses', ['v1', 'v1beta1'], false),
  gatewayApi('Gateway', 'gateways', ['v1', 'v1beta1']),
  gatewayApi('HTTPRoute', 'httproutes', ['v1', 'v1beta1']),
  gatewayApi('GRPCRoute', 'grpcroutes', ['v1', 'v1alpha2']),
  gatewayApi('TLSRoute', 'tlsroutes', ['v1', 'v1alpha3', 'v1alpha2']),
  gatewayApi('TCPRoute', 'tcproutes', ['v1', 'v1alpha2']),
  gatewayApi('UDPRoute', 'udproutes', ['v1', 'v1alpha2']),
  gatewayApi('ReferenceGrant', 'referencegrants', ['v1', 'v1beta1']),
  gatewayApi('BackendTLSPolicy', 'backendtlspolicies', ['v1', 'v1alpha3']),
];

/** Ingresses and their classes. */
export const INGRESS_RESOURCES: readonly ResourceSpec[] = [
  {
    group: 'networking.k8s.io',
    versions: ['v1'],
    plural: 'ingresses',
    kind: 'Ingress',
    namespaced: true,
    optional: true,
  },
  {
    group: 'networking.k8s.io',
    versions: ['v1'],
    plural: 'ingressclasses',
    kind: 'IngressClass',
    namespaced: false,
    optional: true,
  },
];

/** What every agent needs: Services, their endpoints, Nodes, Namespaces. */
export const CORE_RESOURCES: readonly ResourceSpec[] = [SERVICES, ENDPOINT_SLICES, NODES, NAMESPACES];

/** `Kind.group` of a resource. */
export function kindOf(resource: Pick<ResourceSpec, 'group' | 'kind'>): GroupKind {
  return resource.group === '' ? resource.kind : `${resource.kind}.${resource.group}`;
}

/** `apiVersion` of the objects of a resource at one version. */
export function apiVersionOf(resource: Pick<ResourceSpec, 'group'>, version: string): string {
  return resource.group === '' ? version : `${resource.group}/${version}`;
}

/** The path of the collection at one version. */
export function pathOf(resource: ResourceSpec, version: string): string {
  const root = resource.group === '' ? `/api/${version}` : `/apis/${resource.group}/${version}`;
  const { namespace } = resource.scope ?? {};
  const folder = resource.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  return `${root}${folder}/${resource.plural}`;
}

/** METASERVER.md 2: offline it knows fields of metadata only and answers any other with nothing. */
export function forMetaServer({ fieldSelector: _, ...resource }: ResourceSpec): ResourceSpec {
  return resource;
}

/** The query parameters that select objects; the same for lists and watches. */
export function selectorsOf(resource: ResourceSpec): URLSearchParams {
  const query = new URLSearchParams();
  if (resource.labelSelector) query.set('labelSelector', resource.labelSelector);
  const fields = [
    ...(resource.scope?.name === undefined ? [] : [`metadata.name=${resource.scope.name}`]),
    ...(resource.fieldSelector ? [resource.fieldSelector] : []),
  ];
  if (fields.length > 0) query.set('fieldSelector', fields.join(','));
  return query;
}
