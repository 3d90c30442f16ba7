export { type SessionOptions, sessionDefaults } from '../options.ts';
export type { SessionEvent } from './events.ts';
export { type SecureOptions, secureCarrier } from './secure.ts';
export { type AttachOptions, createSessionTable, type SessionTable, type SessionTableOptions } from './table.ts';
