export { type FrontendPart, planFrontends } from './plan-frontends.ts';
export * from './plan-rules.ts';
export * from './plan-service.ts';
