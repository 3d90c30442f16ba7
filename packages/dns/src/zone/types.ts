import type { Catalog } from '@edgemesh/core';
import type { DnsServerDeps, PodMode } from '../options.ts';
import type { Name } from '../wire/name.ts';
import type { WireRecord } from '../wire/writer.ts';
import type { CatalogIndex } from './catalog-index.ts';

/** What a cached answer depends on: a Service (`ns/name`), a namespace (`ns/`), or everything with addresses (`reverse`). */
export type Dependency = string;
export const REVERSE: Dependency = 'reverse';

/** What the zone says to one question. */
export interface ZoneAnswer {
  readonly rcode: number;
  readonly answers: readonly WireRecord[];
  readonly additionals: readonly WireRecord[];
  readonly authorities: readonly WireRecord[];
  readonly dependsOn: readonly Dependency[];
  /** The last answer is a CNAME to this name, which is to be resolved as well. */
  readonly chase?: Name;
}

/** What names and data the zone is made of. */
export interface ZoneContext {
  readonly catalog: Catalog;
  readonly index: CatalogIndex;
  /** Lower-case labels; the first is the one that PTR answers use. */
  readonly domains: readonly Name[];
  readonly ttl: number;
  readonly pods: PodMode;
  readonly serial: number;
  readonly nameServers: readonly string[];
  readonly addressOf: DnsServerDeps['addressOf'];
}

/** The records at one name, whatever their type; undefined when the name does not exist. */
export interface NameData {
  readonly records: readonly WireRecord[];
  readonly additionals?: readonly WireRecord[];
  readonly chase?: Name;
}

/** An empty non-terminal: the name exists and has no records (RFC 8020). */
export const EMPTY: NameData = { records: [] };
