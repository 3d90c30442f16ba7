import { parseAllDocuments } from 'yaml';
import { isRecord, type Manifest } from './object.ts';

/** The manifests of a YAML text of one or more documents; `List` objects are unfolded. */
export function parseManifests(text: string): Manifest[] {
  const manifests: Manifest[] = [];
  const take = (value: unknown) => {
    if (value === null || value === undefined) return;
    if (isRecord(value) && value.kind === 'List' && Array.isArray(value.items)) {
      for (const item of value.items) take(item);
    } else if (
      isRecord(value) &&
      typeof value.apiVersion === 'string' &&
      typeof value.kind === 'string' &&
      isRecord(value.metadata)
    ) {
      manifests.push(value as unknown as Manifest);
    } else throw new Error('a document is not a Kubernetes object: apiVersion, kind and metadata are needed');
  };
  for (const document of parseAllDocuments(text)) {
    const error = document.errors[0];
    if (error) throw error;
    take(document.toJS());
  }
  return manifests;
}
