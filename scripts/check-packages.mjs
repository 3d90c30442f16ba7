// Packs every package as it would be published, lays them out as a consumer's node_modules, and uses them from there: every
// export must resolve, for TypeScript (types) and for Node (code), without the workspace's own conditions.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './toolchain.mjs';

const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const consumer = mkdtempSync(join(tmpdir(), 'edgemesh-consumer-'));
const scope = join(consumer, 'node_modules/@edgemesh');
const specifiers = [];

try {
  for (const name of readdirSync(join(root, 'packages'))) {
    const source = join(root, 'packages', name);
    const target = join(scope, name);
    mkdirSync(target, { recursive: true });
    execFileSync('npx', ['--yes', packageManager, 'pack', '--pack-destination', consumer], {
      cwd: source,
      stdio: 'pipe',
    });
    const { version } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
    execFileSync('tar', [
      '-xzf',
      join(consumer, `edgemesh-${name}-${version}.tgz`),
      '-C',
      target,
      '--strip-components=1',
    ]);
    const packed = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8'));
    linkDependencies(join(source, 'node_modules'), join(target, 'node_modules'), packed.dependencies ?? {});
    for (const entry of Object.keys(packed.exports)) specifiers.push(`@edgemesh/${name}${entry.slice(1)}`);
  }
  check();
  console.log(`${specifiers.length} entry points of the packed packages resolve, for TypeScript and for Node`);
} finally {
  rmSync(consumer, { recursive: true, force: true });
}

/** Third-party dependencies come from the workspace; our own ones only from what was packed. */
function linkDependencies(from, to, dependencies) {
  for (const dependency of Object.keys(dependencies).filter((name) => !name.startsWith('@edgemesh/'))) {
    mkdirSync(join(to, dependency, '..'), { recursive: true });
    symlinkSync(join(from, dependency), join(to, dependency));
  }
}

function check() {
  const imports = specifiers.map(
    (specifier, i) => `import * as entry${i} from '${specifier}';\nconsole.assert(entry${i});`,
  );
  writeFileSync(join(consumer, 'index.ts'), `${imports.join('\n')}\n`);
  writeFileSync(join(consumer, 'package.json'), '{ "type": "module" }\n');
  const types = join(root, 'node_modules/@types');
  const compilerOptions = {
    module: 'nodenext',
    target: 'es2024',
    strict: true,
    skipLibCheck: true,
    noEmit: true,
    types: ['node'],
    typeRoots: [types],
  };
  writeFileSync(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['index.ts'] }));
  run('tsc', ['-p', consumer]);
  // Test helpers import vitest, which only works inside of it.
  for (const specifier of specifiers.filter((name) => !name.startsWith('@edgemesh/testkit'))) {
    run(process.execPath, ['--input-type=module', '-e', `await import('${specifier}'); process.exit(0)`]);
  }
}

function run(command, args) {
  try {
    execFileSync(command, args, { cwd: consumer, stdio: 'pipe' });
  } catch (error) {
    throw new Error(`${command} ${args.join(' ')}\n${error.stdout}${error.stderr}`);
  }
}
