import { readArguments } from './args.ts';
import { run } from './run.ts';

const { EDGEMESH_ADMIN } = process.env;
process.exitCode = await run(readArguments(process.argv.slice(2), EDGEMESH_ADMIN || undefined), {
  print: (text) => console.log(text),
  complain: (text) => console.error(text),
});
