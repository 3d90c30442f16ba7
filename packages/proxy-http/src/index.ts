export * from './regex/regex.ts';
export { REGEX_LIMITS, RegexError } from './regex/syntax.ts';
export * from './route/pick-backend.ts';
export * from './route/request-view.ts';
export * from './route/route-matcher.ts';
export * from './route-model.ts';
