/** Any Kubernetes object as it came from its source, for the kinds that the Catalog does not normalise. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: KubeMetadata;
  readonly [field: string]: unknown;
}

export interface KubeMetadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  /** RFC 3339. */
  readonly creationTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

/** `Kind.group`, or `Kind` alone for the core group: `Service`, `Gateway.networking.istio.io`. The version is left out. */
export type GroupKind = string;

/** The {@link GroupKind} of an object. */
export function groupKind(object: Pick<KubeObject, 'apiVersion' | 'kind'>): GroupKind {
  const slash = object.apiVersion.indexOf('/');
  return slash < 0 ? object.kind : `${object.kind}.${object.apiVersion.slice(0, slash)}`;
}

/** Map key of an object among its kind: `namespace/name`, or `name` for cluster-scoped kinds. */
export function objectKey(metadata: Pick<KubeMetadata, 'name' | 'namespace'>): string {
  return metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name;
}
