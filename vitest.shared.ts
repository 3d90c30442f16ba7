import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Shared by every package: tests run the TypeScript sources of all workspace packages, no build needed. */
export default defineConfig({
  resolve: { conditions: ['@edgemesh/source'] },
  ssr: { resolve: { conditions: ['@edgemesh/source'], externalConditions: ['@edgemesh/source'] } },
  test: {
    setupFiles: [fileURLToPath(new URL('./vitest.setup.ts', import.meta.url))],
    include: ['src/**/*.test.ts'],
    // Those need root and run by vitest.lab.ts.
    exclude: ['**/*.lab.test.ts', '**/node_modules/**', '**/dist/**'],
    testTimeout: 15_000,
    hookTimeout: 15_000,
    // The default of one second is short for machines that build and test at once.
    expect: { poll: { timeout: 10_000 } },
    pool: 'forks',
  },
});
