import { type Catalog, type Service, serviceId } from '@edgemesh/core';

/**
 * The Service that a destination host names: `reviews` (in the namespace of the object that says so), `reviews.prod`,
 * `reviews.prod.svc`, and the full name, in any case and with a final dot. A text says why there is none.
 */
export function serviceOfHost(
  written: string,
  namespace: string,
  context: { readonly catalog: Catalog; readonly clusterDomain: string },
): Service | string {
  const domain = context.clusterDomain.toLowerCase();
  let host = written.trim().toLowerCase().replace(/\.$/, '');
  if (host.endsWith(`.svc.${domain}`)) host = host.slice(0, -domain.length - 5);
  else if (host.endsWith('.svc')) host = host.slice(0, -4);
  const labels = host.split('.');
  if (labels.length > 2 || labels.some((label) => label === '')) {
    return `host ${written} is no Service of this cluster; other hosts are not supported`;
  }
  const [name, ns = namespace] = labels as [string, string?];
  return context.catalog.services.get(serviceId(ns, name)) ?? `Service ${ns}/${name} does not exist`;
}
