// Bundles the apps: one file each, tree-shaken and minified, because memory and start-up are features of an edge agent.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from './toolchain.mjs';

const entries = readdirSync(join(root, 'apps'))
  .flatMap((app) => ['main', 'backend'].map((name) => [app, name]))
  .filter(([app, name]) => existsSync(join(root, 'apps', app, 'src', `${name}.ts`)));

const apps = [...new Set(entries.map(([app]) => app))];

await Promise.all(
  apps.map((app) =>
    build({
      entryPoints: entries
        .filter((entry) => entry[0] === app)
        .map(([, name]) => join(root, 'apps', app, 'src', `${name}.ts`)),
      outdir: join(root, 'apps', app, 'dist'),
      bundle: true,
      splitting: true, // what few need, as the kubeconfig reader, is loaded when it is used
      chunkNames: 'chunks/[name]-[hash]',
      platform: 'node',
      target: 'node24',
      format: 'esm',
      conditions: ['@edgemesh/source'],
      external: ['koffi'], // finds its native library beside itself
      // Names stay as they are: for traces that can be read, and because esbuild's keepNames would define the name of each closure
      // whenever one is made, which was 7 % of a new connection.
      minifyWhitespace: true,
      minifySyntax: true,
      sourcemap: 'linked',
      legalComments: 'none',
      logLevel: 'warning',
      // Dependencies that are still CommonJS call require() for Node's own modules.
      banner: { js: "import { createRequire as $cr } from 'node:module'; const require = $cr(import.meta.url);" },
    }),
  ),
);
