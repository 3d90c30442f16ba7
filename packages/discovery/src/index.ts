export * from './catalog/index.ts';
export * from './errors.ts';
export * from './filter.ts';
export * from './normalize/index.ts';
export type * from './source.ts';
