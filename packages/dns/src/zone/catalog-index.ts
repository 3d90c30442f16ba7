import type { Catalog, CatalogChange, Cidr, KubeObject, ServiceId } from '@edgemesh/core';
import { canonicalIp, cidrContains, parseCidr, parseIp, parseServiceId } from '@edgemesh/core';
import type { DnsServerDeps } from '../options.ts';
import { namedAddresses } from './endpoints.ts';

/** What the zone looks up by something else than a Service's name. Kept up to date change by change. */
export interface CatalogIndex {
  /** True when a Service or a Namespace object of that name exists. */
  hasNamespace(namespace: string): boolean;
  /** Services with this ClusterIP or an endpoint of this address (canonical text). */
  servicesAt(address: string): Iterable<ServiceId>;
  /** Namespace of the Pod with this address, from Pod objects or from endpoints. */
  podNamespace(address: string): string | undefined;
  /** True when the address lies in a range whose reverse names end here. */
  ownsReverse(address: string): boolean;
  update(catalog: Catalog, change: CatalogChange): void;
  /** Starts over from a snapshot. */
  rebuild(catalog: Catalog): void;
}

export interface CatalogIndexOptions {
  readonly reverseCidrs: readonly Cidr[];
  readonly addressOf: DnsServerDeps['addressOf'];
}

/** Builds the index from the first snapshot. */
export function createCatalogIndex(initial: Catalog, options: CatalogIndexOptions): CatalogIndex {
  let catalog = initial;
  let nodeCidrs: Cidr[] = [];
  const addressesOf = new Map<ServiceId, readonly string[]>();
  // Nearly every address belongs to one Service, and a set for each of 100,000 would take 20 MB.
  const byAddress = new Map<string, ServiceId | ReadonlySet<ServiceId>>();
  const perNamespace = new Map<string, number>();

  const idsAt = (address: string): readonly ServiceId[] => {
    const known = byAddress.get(address);
    return known === undefined ? [] : typeof known === 'string' ? [known] : [...known];
  };

  const remove = (id: ServiceId) => {
    const addresses = addressesOf.get(id);
    if (addresses === undefined) return;
    addressesOf.delete(id);
    for (const address of addresses) {
      const left = idsAt(address).filter((other) => other !== id);
      if (left.length === 0) byAddress.delete(address);
      else byAddress.set(address, left.length === 1 ? (left[0] as ServiceId) : new Set(left));
    }
    const { namespace } = parseServiceId(id);
    const left = (perNamespace.get(namespace) ?? 1) - 1;
    if (left > 0) perNamespace.set(namespace, left);
    else perNamespace.delete(namespace);
  };

  const add = (id: ServiceId) => {
    const service = catalog.services.get(id);
    if (service === undefined) return;
    const addresses = new Set<string>();
    for (const text of namedAddresses(catalog, service, options.addressOf)) {
      const address = canonicalIp(text);
      if (address !== undefined) addresses.add(address);
    }
    addressesOf.set(id, [...addresses]);
    for (const address of addresses) {
      const known = byAddress.get(address);
      byAddress.set(address, known === undefined ? id : new Set([...idsAt(address), id]));
    }
    perNamespace.set(service.namespace, (perNamespace.get(service.namespace) ?? 0) + 1);
  };

  const readNodes = () => {
    nodeCidrs = [...catalog.nodes.values()].flatMap((node) => node.podCIDRs.flatMap((text) => parseCidr(text) ?? []));
  };

  const index: CatalogIndex = {
    hasNamespace: (namespace) =>
      perNamespace.has(namespace) || (catalog.objects.get('Namespace')?.has(namespace) ?? false),
    servicesAt: idsAt,
    podNamespace(address) {
      const known = podNamespaces(catalog.objects.get('Pod')).get(address);
      if (known !== undefined) return known;
      for (const id of [...index.servicesAt(address)].sort()) {
        const found = catalog.endpoints.get(id)?.find((e) => e.address === address && e.targetRef?.kind === 'Pod');
        if (found?.targetRef !== undefined) return found.targetRef.namespace;
      }
      return undefined;
    },
    ownsReverse(address) {
      const bytes = parseIp(address);
      if (bytes === undefined) return false;
      return [...options.reverseCidrs, ...nodeCidrs].some((cidr) => cidrContains(cidr, bytes));
    },
    update(next, change) {
      catalog = next;
      for (const id of change.services) {
        remove(id);
        add(id);
      }
      if (change.nodes.size > 0) readNodes();
    },
    rebuild(next) {
      catalog = next;
      addressesOf.clear();
      byAddress.clear();
      perNamespace.clear();
      for (const id of catalog.services.keys()) add(id);
      readNodes();
    },
  };
  index.rebuild(initial);
  return index;
}

const NO_PODS: ReadonlyMap<string, string> = new Map();
/** One pass over the Pods per snapshot that changed them; the map goes with the snapshot. */
const podCache = new WeakMap<ReadonlyMap<string, KubeObject>, ReadonlyMap<string, string>>();

function podNamespaces(pods: ReadonlyMap<string, KubeObject> | undefined): ReadonlyMap<string, string> {
  if (pods === undefined) return NO_PODS;
  const cached = podCache.get(pods);
  if (cached !== undefined) return cached;
  const found = new Map<string, string>();
  for (const pod of pods.values()) {
    for (const address of podAddresses(pod)) {
      const canonical = canonicalIp(address);
      if (canonical !== undefined && pod.metadata.namespace) found.set(canonical, pod.metadata.namespace);
    }
  }
  podCache.set(pods, found);
  return found;
}

/** Addresses of a Pod object, which comes from outside: every field may be missing or of another type. */
function podAddresses(pod: KubeObject): string[] {
  const spec = pod.spec as { hostNetwork?: unknown } | undefined;
  const status = pod.status as { podIP?: unknown; podIPs?: unknown; phase?: unknown } | undefined;
  if (spec?.hostNetwork === true || status?.phase === 'Succeeded' || status?.phase === 'Failed') return [];
  const list = Array.isArray(status?.podIPs) ? status.podIPs.map((entry: { ip?: unknown } | null) => entry?.ip) : [];
  return [status?.podIP, ...list].filter((ip) => typeof ip === 'string');
}
