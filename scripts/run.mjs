// The commands of the root package.json: each installs and builds what it needs first.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ensureInstalled, root, run } from './toolchain.mjs';

const [task = '', ...rest] = process.argv.slice(2);
const args = rest.filter((arg) => arg !== '--');

const tasks = {
  bundle: build,
  demo: async () => (await build()) || run('node', ['apps/demo/dist/main.js', ...args]),
  test: () =>
    steps([
      ['lint', () => run('biome', ['check', '--error-on-warnings', '.'])],
      ['types', async () => (await run('tsc', ['--build'])) || run('tsc', ['-p', 'tsconfig.tests.json'])],
      ['bundle', build],
      ['unit tests', () => vitest('unit', 'vitest.workspace.ts')],
      [
        'packages',
        async () =>
          (await run('turbo', ['run', 'publint', '--output-logs=errors-only', '--log-prefix=none'])) ||
          run('node', ['scripts/check-packages.mjs']),
      ],
    ]),
  lab: () =>
    steps([
      ['bundle', build],
      ['network lab', () => vitest('lab', 'vitest.lab.ts')],
    ]),
  bench: async () =>
    (await build()) || run('node', ['--conditions=@edgemesh/source', 'apps/lab/src/bench.ts', ...args]),
};

function build() {
  return run('node', ['scripts/bundle.mjs']);
}

/** Runs vitest and leaves its counts in .edgemesh/NAME-tests.json for `.ci/run`. */
async function vitest(name, config) {
  const report = join(root, `.edgemesh/${name}-tests.json`);
  mkdirSync(join(root, '.edgemesh'), { recursive: true });
  rmSync(report, { force: true });
  const code = await run('vitest', [
    'run',
    '--config',
    config,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...args,
  ]);
  const { numPassedTests, numFailedTests, numPendingTests } = JSON.parse(readFileSync(report, 'utf8'));
  console.log(`${name}: ${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests} skipped`);
  return code;
}

/** Runs all steps even when one fails, so that one run shows everything; the exit code is that of the first failure. */
async function steps(list) {
  const failed = [];
  let exit = 0;
  for (const [name, step] of list) {
    console.log(`\n== ${name}`);
    const code = await step();
    if (code !== 0) failed.push(name);
    exit ||= code;
  }
  console.log(failed.length === 0 ? '\nAll steps passed.' : `\nFailed: ${failed.join(', ')}`);
  return exit;
}

if (!(task in tasks)) {
  console.error(`usage: node scripts/run.mjs ${Object.keys(tasks).join(' | ')}`);
  process.exit(2);
}
ensureInstalled();
process.exit(await tasks[task]());
