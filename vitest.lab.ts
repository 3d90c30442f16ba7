import { defineConfig } from 'vitest/config';

/** The scenarios that need root, network namespaces and nftables: `pnpm test:lab`. One file at a time, they share the machine. */
export default defineConfig({
  resolve: { conditions: ['@edgemesh/source'] },
  ssr: { resolve: { conditions: ['@edgemesh/source'], externalConditions: ['@edgemesh/source'] } },
  test: {
    include: ['packages/*/src/**/*.lab.test.ts', 'apps/*/src/**/*.lab.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
  },
});
