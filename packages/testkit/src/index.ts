export * from './fake-clock.ts';
export * from './recording-logger.ts';
