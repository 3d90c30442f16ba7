import type { Catalog, Service } from '@edgemesh/core';

/** How many names are suggested for one that does not exist. */
const MAX_SUGGESTIONS = 5;

export interface ServiceQuestion {
  /** `hello`, `hello.shop`, `shop/hello`, `hello.shop.svc.cluster.local` or an address of the Service. */
  readonly name: string;
  /** Namespace of names that have none. Default `default`. */
  readonly namespace?: string;
  readonly clusterDomain: string;
}

export type FoundService =
  | { readonly service: Service }
  | { readonly service: undefined; readonly wanted: string; readonly suggestions: readonly string[] };

/** Finds the Service that somebody means, by any of the spellings in use. */
export function findService(catalog: Pick<Catalog, 'services'>, question: ServiceQuestion): FoundService {
  const name = question.name.trim().toLowerCase().replace(/\.$/, '');
  for (const service of catalog.services.values()) if (addressesOf(service).includes(name)) return { service };
  const [namespace, simple] = split(name, question);
  const service = catalog.services.get(`${namespace}/${simple}`);
  if (service !== undefined) return { service };
  const near = [...catalog.services.values()].filter((other) => other.name === simple || other.name.includes(simple));
  return {
    service: undefined,
    wanted: `${namespace}/${simple}`,
    suggestions: near.slice(0, MAX_SUGGESTIONS).map(({ id }) => id),
  };
}

function addressesOf({ clusterIPs, externalIPs, loadBalancerIngress }: Service): string[] {
  return [...clusterIPs, ...externalIPs, ...loadBalancerIngress.map(({ ip }) => ip)];
}

function split(name: string, { namespace = 'default', clusterDomain }: ServiceQuestion): [string, string] {
  const slash = name.indexOf('/');
  if (slash >= 0) return [name.slice(0, slash), name.slice(slash + 1)];
  const suffix = [`.svc.${clusterDomain.replace(/\.$/, '')}`, '.svc'].find((end) => name.endsWith(end)) ?? '';
  const labels = name.slice(0, name.length - suffix.length).split('.');
  // A pod of a headless Service: pod.service.namespace.
  const [simple = '', space = namespace] = labels.length > 2 ? labels.slice(-2) : labels;
  return [space, simple];
}
