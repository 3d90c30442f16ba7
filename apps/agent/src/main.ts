import { setFlagsFromString } from 'node:v8';
import { readArguments, USAGE } from './args.ts';
import { CommandError, execute } from './execute.ts';

// V8 moves what it thinks will live long straight to the old space. When it guesses so of the objects of a request, which die with
// it, they keep all others alive until the next full collection, and each request costs half as much again for good.
setFlagsFromString('--no-allocation-site-pretenuring');

try {
  process.exitCode = await execute(readArguments(process.argv.slice(2)), process.env);
} catch (error) {
  // A CommandError says what to do; anything else is a defect and shows where it is.
  console.error(error instanceof CommandError ? error.message : error);
  if (error instanceof CommandError && error.showUsage) console.error(`\n${USAGE}`);
  process.exitCode = 1;
}
