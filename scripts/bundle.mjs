// Bundles the apps: one file each, tree-shaken and minified, because memory and start-up are features of an edge agent.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from './toolchain.mjs';

const entries = readdirSync(join(root, 'apps'))
  .flatMap((app) => ['main', 'backend'].map((name) => [app, name]))
  .filter(([app, name]) => existsSync(join(root, 'apps', app, 'src', `${name}.ts`)));

await Promise.all(
  entries.map(([app, name]) =>
    build({
      entryPoints: [join(root, 'apps', app, 'src', `${name}.ts`)],
      outfile: join(root, 'apps', app, 'dist', `${name}.js`),
      bundle: true,
      platform: 'node',
      target: 'node24',
      format: 'esm',
      conditions: ['@edgemesh/source'],
      external: ['koffi'], // finds its native library beside itself
      minify: true,
      keepNames: true,
      sourcemap: 'linked',
      legalComments: 'none',
      logLevel: 'warning',
      // Dependencies that are still CommonJS call require() for Node's own modules.
      banner: { js: "import { createRequire as $cr } from 'node:module'; const require = $cr(import.meta.url);" },
    }),
  ),
);
