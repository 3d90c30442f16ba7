import type { Leaf, Section } from './fields.ts';
import { joinPath } from './tree.ts';

/** A key of a schema that holds a value, with its dotted path. */
export interface SchemaRow {
  readonly path: string;
  readonly field: Leaf;
}

/** Every key that holds a value, in the order of the schema. Items of object lists are rows of their own: `relayNodes[].nodeName`. */
export function schemaRows(section: Section, path = ''): SchemaRow[] {
  return Object.entries(section.fields).flatMap(([key, field]) => {
    const here = joinPath(path, key);
    if (field.kind === 'section') return schemaRows(field, here);
    const row = { path: here, field };
    return field.kind === 'objects' ? [row, ...schemaRows(field.item, `${here}[]`)] : [row];
  });
}

/** Where each key (in lower case) may stand: sections and values, for hints about misplaced keys. */
export function keyPlaces(section: Section): ReadonlyMap<string, readonly string[]> {
  const places = new Map<string, string[]>();
  const walk = (fields: Section['fields'], path: string) => {
    for (const [key, field] of Object.entries(fields)) {
      const here = joinPath(path, key);
      const known = places.get(key.toLowerCase());
      if (known === undefined) places.set(key.toLowerCase(), [here]);
      else known.push(here);
      if (field.kind === 'section') walk(field.fields, here);
    }
  };
  walk(section.fields, '');
  return places;
}
