export { type ParsedManifest, parseManifest } from './parse.ts';
export { createManifestSource, type ManifestSourceOptions } from './source.ts';
