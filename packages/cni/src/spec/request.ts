import { CniError } from '../errors.ts';
import type { CniRequest, CniVerb } from './types.ts';

const VERBS: readonly CniVerb[] = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'];
/** Verbs that concern one container. */
const OF_CONTAINER: ReadonlySet<CniVerb> = new Set(['ADD', 'DEL', 'CHECK']);

/** Reads the CNI_* variables of the specification, section 2. */
export function parseRequest(env: Readonly<Record<string, string | undefined>>): CniRequest {
  const verb = VERBS.find((candidate) => candidate === env.CNI_COMMAND);
  if (verb === undefined) throw invalid('CNI_COMMAND', `must be one of ${VERBS.join(', ')}`, env.CNI_COMMAND);
  const request: CniRequest = {
    verb,
    containerId: env.CNI_CONTAINERID ?? '',
    netns: env.CNI_NETNS ?? '',
    ifname: env.CNI_IFNAME ?? '',
    path: (env.CNI_PATH ?? '').split(':').filter((folder) => folder !== ''),
    env: Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined)),
  };
  if (!OF_CONTAINER.has(verb)) return request;
  if (!isContainerId(request.containerId)) {
    throw invalid(
      'CNI_CONTAINERID',
      'letters, digits, "_", "." and "-", the first a letter or digit',
      env.CNI_CONTAINERID,
    );
  }
  if (!isIfname(request.ifname)) {
    throw invalid('CNI_IFNAME', '1 to 15 characters without blanks, "/" and ":"', env.CNI_IFNAME);
  }
  if (verb !== 'DEL' && request.netns === '')
    throw invalid('CNI_NETNS', 'the path of a namespace is needed', env.CNI_NETNS);
  if (request.netns !== '' && !/^\/[^\s\0"'\\]*$/.test(request.netns)) {
    throw invalid('CNI_NETNS', 'must be an absolute path without blanks and quotes', request.netns);
  }
  return request;
}

/** A container id as the specification allows it, of bounded length. */
export function isContainerId(id: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/.test(id);
}

/** A name that Linux takes for a link. */
export function isIfname(name: string): boolean {
  return /^[^\s/:\0]{1,15}$/.test(name) && name !== '.' && name !== '..';
}

function invalid(variable: string, rule: string, value: string | undefined): CniError {
  const shown = value === undefined || value === '' ? 'is not set' : `is ${JSON.stringify(value.slice(0, 100))}`;
  return new CniError('invalid-environment', `${variable} ${shown}: ${rule}`);
}
