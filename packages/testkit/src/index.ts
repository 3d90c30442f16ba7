export * from './catalog.ts';
export * from './fake-clock.ts';
export * from './recording-logger.ts';
