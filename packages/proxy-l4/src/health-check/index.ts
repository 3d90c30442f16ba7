export * from './checked-catalog.ts';
export * from './health-check.ts';
export * from './health-checker.ts';
