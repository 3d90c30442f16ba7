/**
 * Which workspace packages the sources of a package may import: the architecture in one place. Tests may import
 * `testkit` and the packages listed under `testsMayImport` on top. Change this table only together with
 * docs/ARCHITECTURE.md.
 */
export const allowedArrows: Readonly<Record<string, readonly string[]>> = {
  core: [],
  config: ['core'],
  discovery: ['core'],
  lb: ['core'],
  dns: ['core'],
  tunnel: ['core'],
  'proxy-l4': ['core'],
  'proxy-http': ['core'],
  gateway: ['core', 'proxy-http', 'proxy-l4'],
  cni: ['core'],
  linux: ['core'],
  telemetry: ['core'],
  testkit: ['core'],
};

/** What tests of a package may import beyond its own arrows: fakes, conformance suites, and real balancers. */
export const testsMayImport: readonly string[] = ['testkit', 'lb'];

/** Apps wire packages together and may import all of them but these. */
export const appsMayNotImport: readonly string[] = ['testkit'];

/** Apps that are tests themselves and may use the testkit. */
export const testingApps: readonly string[] = ['lab'];
