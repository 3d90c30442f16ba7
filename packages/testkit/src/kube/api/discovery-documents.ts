import { apiVersionOf, type KindSpec } from './kinds.ts';

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

/** What `/api`, `/apis`, `/api/v1`, `/apis/group` and `/apis/group/version` say; undefined for other paths. */
export function discoveryDocument(path: string, kinds: readonly KindSpec[]): Record<string, unknown> | undefined {
  const parts = path.split('/').filter((part) => part !== '');
  if (parts[0] === 'api') {
    if (parts.length === 1) return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
    if (parts.length === 2) return resourceList('', parts[1] as string, kinds);
  }
  if (parts[0] === 'apis') {
    if (parts.length === 1) return groupList(kinds);
    const found = groups(kinds).find((group) => group.name === parts[1]);
    if (parts.length === 2) return found && { kind: 'APIGroup', apiVersion: 'v1', ...found };
    if (parts.length === 3) return resourceList(parts[1] as string, parts[2] as string, kinds);
  }
  return undefined;
}

function groupList(kinds: readonly KindSpec[]): Record<string, unknown> {
  return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups(kinds) };
}

function groups(kinds: readonly KindSpec[]) {
  const names = [...new Set(kinds.map((kind) => kind.group))].filter((group) => group !== '');
  return names.map((name) => {
    const versions = [...new Set(kinds.filter((kind) => kind.group === name).flatMap((kind) => kind.versions))];
    const entries = versions.map((version) => ({ groupVersion: apiVersionOf(name, version), version }));
    return { name, versions: entries, preferredVersion: entries[0] };
  });
}

function resourceList(group: string, version: string, kinds: readonly KindSpec[]): Record<string, unknown> | undefined {
  const served = kinds.filter((kind) => kind.group === group && kind.versions.includes(version));
  if (served.length === 0) return undefined;
  const resources = served.flatMap((kind) => {
    const entry = { singularName: kind.kind.toLowerCase(), namespaced: kind.namespaced, kind: kind.kind };
    const main = { name: kind.plural, ...entry, verbs: VERBS };
    const status = { name: `${kind.plural}/status`, ...entry, singularName: '', verbs: ['get', 'patch', 'update'] };
    return kind.status ? [main, status] : [main];
  });
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: apiVersionOf(group, version), resources };
}
