import { CommandError, run } from './run.ts';

try {
  process.exitCode = await run(process.argv.slice(2), process.env);
} catch (error) {
  // A CommandError says what to do; anything else is a defect and shows where it is.
  console.error(error instanceof CommandError ? error.message : error);
  process.exitCode = 1;
}
