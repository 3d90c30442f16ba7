export * from './checked-catalog.ts';
export type { FailingEndpoint } from './checked-service.ts';
export * from './health-check.ts';
export * from './health-checker.ts';
