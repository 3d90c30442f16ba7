import { compileRegex } from '../regex/regex.ts';
import type { PathMatch, PathRewrite } from '../route-model.ts';
import type { StringTest } from './string-match.ts';

/** Compiles a path match. @throws RegexError */
export function compilePathMatch(match: PathMatch): StringTest {
  const ignoreCase = match.ignoreCase === true;
  if (match.kind === 'regex') {
    const regex = compileRegex(match.value, { ignoreCase });
    return (path) => regex.matches(path);
  }
  const wanted = ignoreCase ? match.value.toLowerCase() : match.value;
  const test = pathTest(match.kind, wanted);
  return ignoreCase ? (path) => test(path.toLowerCase()) : test;
}

function pathTest(kind: 'exact' | 'prefix' | 'segments', wanted: string): StringTest {
  if (kind === 'exact') return (path) => path === wanted;
  if (kind === 'prefix') return (path) => path.startsWith(wanted);
  const stem = withoutFinalSlash(wanted);
  // Gateway API: a final slash of the prefix does not matter, and `/` matches everything.
  return (path) => path.startsWith(stem) && (path.length === stem.length || path.charCodeAt(stem.length) === 0x2f);
}

/** Compiles a path rewrite: from the path and what has matched it to the new path, which always starts with `/`. @throws RegexError */
export function compilePathRewrite(rewrite: PathRewrite): (path: string, match: PathMatch | undefined) => string {
  if (rewrite.kind !== 'regex') {
    const { kind, value } = rewrite;
    return kind === 'full' ? () => withSlash(value) : (path, match) => withSlash(replacePrefix(path, match, value));
  }
  const regex = compileRegex(rewrite.pattern);
  return (path) => withSlash(regex.replaceAll(path, rewrite.substitution));
}

function replacePrefix(path: string, match: PathMatch | undefined, value: string): string {
  // Without a path match every path has matched, by its root.
  if (match === undefined) return withoutFinalSlash(value) + path;
  if (match.kind === 'prefix') return value + path.slice(match.value.length);
  if (match.kind !== 'segments') return value;
  const rest = path.slice(withoutFinalSlash(match.value).length);
  // Gateway API's table: `/foo` by `/xyz` gives `/xyz`, `/foo/` gives `/xyz/`, and by `/` gives `/` in both cases.
  return withoutFinalSlash(value) + rest;
}

function withoutFinalSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path;
}

function withSlash(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}
