import { readArguments, USAGE } from './args.ts';
import { CommandError, execute } from './execute.ts';

try {
  process.exitCode = await execute(readArguments(process.argv.slice(2)), process.env);
} catch (error) {
  // A CommandError says what to do; anything else is a defect and shows where it is.
  console.error(error instanceof CommandError ? error.message : error);
  if (error instanceof CommandError && error.showUsage) console.error(`\n${USAGE}`);
  process.exitCode = 1;
}
