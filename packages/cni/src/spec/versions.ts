import { CniError } from '../errors.ts';
import type { CniVerb } from './types.ts';

/** Versions of the specification that are spoken, oldest first. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];

/** The first version that knows a verb. */
const SINCE: Readonly<Partial<Record<CniVerb, CniVersion>>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

/** Checks the version of a configuration, and that it knows the verb. */
export function requireVersion(version: unknown, verb: CniVerb): CniVersion {
  const known = CNI_VERSIONS.find((candidate) => candidate === version);
  if (known === undefined) {
    throw new CniError('incompatible-version', `cniVersion ${JSON.stringify(version)} is not supported`, {
      details: `supported: ${CNI_VERSIONS.join(', ')}`,
    });
  }
  const since = SINCE[verb];
  if (since !== undefined && CNI_VERSIONS.indexOf(known) < CNI_VERSIONS.indexOf(since)) {
    throw new CniError('incompatible-version', `${verb} needs cniVersion ${since} or later, not ${known}`);
  }
  return known;
}

/** True from this version on. */
export function atLeast(version: CniVersion, since: CniVersion): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(since);
}
