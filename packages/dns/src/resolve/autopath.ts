import { RCODE, TYPE } from '../wire/constants.ts';
import { type Name, parseName } from '../wire/name.ts';
import { nameRecord } from '../zone/records.ts';
import { type FindDeps, type Found, find, type Sought } from './find.ts';

export interface AutopathDeps extends FindDeps {
  readonly searchDomains: readonly Name[];
  readonly namespaceOf: (clientAddress: string) => string | undefined;
}

/** A lookup that a client's search path began and that can be finished here. */
export interface SearchStart {
  /** What the client's user asked for. */
  readonly wanted: Name;
  /** The suffixes that its search path would try next, the bare name last. */
  readonly suffixes: readonly Name[];
}

/**
 * Recognises the first try of a Pod's search path: an address question below `<own namespace>.svc.<zone>`. The
 * namespace must be that of the asking Pod, else somebody really means that name.
 */
export function searchStart(deps: AutopathDeps, sought: Sought, domain: Name, client: string): SearchStart | undefined {
  if (sought.qtype !== TYPE.A && sought.qtype !== TYPE.AAAA) return undefined;
  const tail = sought.name.length - domain.length;
  if (tail < 3 || sought.name[tail - 1] !== 'svc') return undefined;
  if (deps.namespaceOf(client) !== sought.name[tail - 2]) return undefined;
  return {
    wanted: sought.name.slice(0, tail - 2),
    suffixes: [['svc', ...domain], domain, ...deps.searchDomains, []],
  };
}

/**
 * Walks the search path and answers with a CNAME from the name that was asked to the one that exists. Undefined: none
 * does, and the client gets the NXDOMAIN it would have got at once.
 */
export function completeSearch(
  deps: AutopathDeps,
  start: SearchStart,
  sought: Sought,
  done: (found: Found | undefined) => void,
): void {
  const attempt = (i: number) => {
    const suffix = start.suffixes[i];
    if (suffix === undefined) return done(undefined);
    const name = [...start.wanted, ...suffix];
    // A name that got too long, or an address typed where a name belongs, does not exist.
    if (parseName(name.join('.')) === undefined) return attempt(i + 1);
    find(deps, { ...sought, name }, (found) => {
      // With upstreams failing the client shall go on by itself and meet the failure at the bare name.
      if (found.failure !== undefined) return done(undefined);
      if (found.rcode === RCODE.NXDOMAIN) return attempt(i + 1);
      const inCluster = i < 2;
      if (inCluster && found.answers.length === 0) return attempt(i + 1);
      if (found.answers.length === 0) return done(found);
      const alias = nameRecord(sought.name, TYPE.CNAME, found.answers[0]?.ttl ?? 0, name);
      done({ ...found, answers: [alias, ...found.answers] });
    });
  };
  attempt(0);
}
