import { mustRun, type Runner } from '../exec.ts';
import type { Element } from './render.ts';

/** One element as nft lists it, with its counter where the map has one. */
export interface ListedElement {
  readonly key: string;
  readonly value: string;
  readonly packets?: number;
}

/**
 * Parses the text of `nft list set|map`. Text and not JSON: the elements come back exactly as they were written, and old
 * versions leave parts out of their JSON.
 */
export function parseElements(text: string): ListedElement[] {
  const start = text.indexOf('elements = {');
  if (start < 0) return [];
  const body = text.slice(start + 12, text.indexOf('}', start));
  return body
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
    .map(parseElement);
}

function parseElement(item: string): ListedElement {
  const counter = / counter packets (\d+) bytes \d+/.exec(item);
  const plain = item.replace(/ (counter packets \d+ bytes \d+|timeout \S+|expires \S+)/g, '');
  const split = plain.indexOf(' : ');
  const key = split < 0 ? plain : plain.slice(0, split);
  const value = split < 0 ? '' : plain.slice(split + 3);
  return counter === null ? { key, value } : { key, value, packets: Number(counter[1]) };
}

/** Lists the elements of a set or map of ours. */
export async function listElements(
  runner: Runner,
  table: string,
  kind: 'set' | 'map',
  name: string,
): Promise<ListedElement[]> {
  return parseElements((await mustRun(runner, 'nft', ['list', kind, 'inet', table, name])).stdout);
}

/** What the comparison of a set found. */
export interface Mismatch {
  readonly set: string;
  readonly missing: number;
  readonly foreign: number;
}

/** Compares what is listed with what should be there. */
export function compareListing(
  set: string,
  expected: readonly Element[],
  listed: readonly ListedElement[],
): Mismatch | undefined {
  const present = new Set(listed.map((element) => `${element.key} : ${element.value}`));
  let missing = 0;
  for (const element of expected) if (!present.delete(`${element.key} : ${element.value}`)) missing++;
  return missing === 0 && present.size === 0 ? undefined : { set, missing, foreign: present.size };
}
