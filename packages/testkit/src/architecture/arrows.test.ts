import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { allowedArrows, appsMayNotImport, testingApps, testsMayImport } from './arrows.ts';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const isTest = (file: string) => /\.(test|bench)\.ts$/.test(file) || /\/(bench|testing)\//.test(file);

function sources(folder: string): string[] {
  const src = join(folder, 'src');
  if (!existsSync(src)) return [];
  return readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(src, file));
}

function imports(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  return [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^'";]*?from\s*'([^']+)'|import\(\s*'([^']+)'\s*\)|(?:^|\n)import\s+'([^']+)'/g,
    ),
  ].map((m) => (m[1] ?? m[2] ?? m[3]) as string);
}

const meshPackage = (specifier: string) => /^@edgemesh\/([^/]+)/.exec(specifier)?.[1];
const folders = (kind: string) =>
  readdirSync(join(root, kind)).filter((name) => existsSync(join(root, kind, name, 'package.json')));

describe('the arrows between packages', () => {
  it('are known for every package', () => {
    expect(folders('packages').sort()).toEqual(Object.keys(allowedArrows).sort());
  });

  it.each(folders('packages'))('packages/%s imports only what the table allows', (name) => {
    const wrong: string[] = [];
    for (const file of sources(join(root, 'packages', name))) {
      const allowed = [...(allowedArrows[name] ?? []), ...(isTest(file) ? testsMayImport : []), name];
      for (const specifier of imports(file)) {
        const target = meshPackage(specifier);
        if (target !== undefined && !allowed.includes(target)) wrong.push(`${relative(root, file)} -> ${specifier}`);
        if (
          specifier.startsWith('.') &&
          relative(join(root, 'packages', name), resolve(dirname(file), specifier)).startsWith('..')
        ) {
          wrong.push(`${relative(root, file)} leaves its package: ${specifier}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it.each(folders('apps'))('apps/%s imports no other app and no testkit', (name) => {
    const wrong: string[] = [];
    for (const file of sources(join(root, 'apps', name))) {
      for (const specifier of imports(file)) {
        const target = meshPackage(specifier);
        const forbidden = !testingApps.includes(name) && !isTest(file) && appsMayNotImport.includes(target ?? '');
        if (forbidden || (target !== undefined && !(target in allowedArrows)))
          wrong.push(`${relative(root, file)} -> ${specifier}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it.each([...folders('packages').map((n) => `packages/${n}`), ...folders('apps').map((n) => `apps/${n}`)])(
    '%s has no import cycle, not even of types',
    (folder) => {
      const graph = new Map(
        sources(join(root, folder)).map((file) => [
          file,
          imports(file)
            .filter((specifier) => specifier.startsWith('.'))
            .map((specifier) => resolve(dirname(file), specifier)),
        ]),
      );
      expect(findCycle(graph)?.map((file) => relative(root, file))).toBeUndefined();
    },
  );

  it('is no longer than its declared dependencies: package.json names exactly what the sources import', () => {
    const wrong: string[] = [];
    for (const name of folders('packages')) {
      const folder = join(root, 'packages', name);
      const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      const used = new Set<string>();
      for (const file of sources(folder).filter((f) => !isTest(f))) {
        for (const specifier of imports(file)) {
          if (specifier.startsWith('.') || specifier.startsWith('node:')) continue;
          used.add(
            specifier
              .split('/')
              .slice(0, specifier.startsWith('@') ? 2 : 1)
              .join('/'),
          );
        }
      }
      for (const dependency of Object.keys(dependencies))
        if (!used.has(dependency)) wrong.push(`${name}: ${dependency} is not used`);
      for (const dependency of used) {
        if (
          !(dependency in dependencies) &&
          dependency !== `@edgemesh/${name}` &&
          !(name === 'testkit' && ['vitest', 'fast-check'].includes(dependency))
        ) {
          wrong.push(`${name}: ${dependency} is not declared`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });
});

/** A path that returns to its start, or undefined. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, trail: string[]): string[] | undefined => {
    if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file];
    if (done.has(file)) return undefined;
    done.add(file);
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next, [...trail, file]);
      if (cycle !== undefined) return cycle;
    }
    return undefined;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
