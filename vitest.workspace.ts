import { defineConfig } from 'vitest/config';

/** Every package and app is a project with its own tests. The lab needs root and runs by `pnpm test:lab`. */
export default defineConfig({
  test: {
    projects: ['packages/*', 'apps/*'],
    passWithNoTests: false,
  },
});
