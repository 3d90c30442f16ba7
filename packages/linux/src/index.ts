export * from './errors.ts';
export * from './exec.ts';
export type { Skipped } from './nft/state.ts';
export { type ApplyReport, createNftTable, type NftTable, type NftTableOptions, removeTable } from './nft/table.ts';
export { LINUX_DEFAULTS } from './options.ts';
export * from './plan.ts';
