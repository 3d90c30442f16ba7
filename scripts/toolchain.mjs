// Runs on any Node from 20 on: finds or installs the toolchain, then starts everything else on Node 24.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const MINIMUM_NODE_MAJOR = 24;

/** Installs the dependencies when the lock file is newer than what is installed. */
export function ensureInstalled() {
  const installed = join(root, 'node_modules/.modules.yaml');
  const lock = join(root, 'pnpm-lock.yaml');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  console.log('Installing dependencies (once)...');
  const result = spawnSync('npx', ['--yes', packageManager, 'install', '--frozen-lockfile', '--reporter=append-only'], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, npm_config_loglevel: 'error' },
  });
  if (result.status !== 0) {
    console.error(
      `${result.stdout}${result.stderr}\nThe installation failed, see above. Is the npm registry reachable?`,
    );
    process.exit(1);
  }
}

/** Node 24 or later: this process's own, or the one that the npm registry delivered as an optional dependency. */
export function nodeBinary() {
  if (Number(process.versions.node.split('.')[0]) >= MINIMUM_NODE_MAJOR) return process.execPath;
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  try {
    return join(dirname(createRequire(join(root, 'package.json')).resolve(`${name}/package.json`)), 'bin/node');
  } catch {
    console.error(
      `EdgeMesh needs Node ${MINIMUM_NODE_MAJOR} or later; this is ${process.version}, and there is no ${name} package.`,
    );
    process.exit(1);
  }
}

/** Runs a command with the toolchain first in PATH; resolves with its exit code. Signals are passed on. */
export function run(command, args, options = {}) {
  const path = [dirname(nodeBinary()), join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter);
  const child = spawn(command, args, {
    cwd: root,
    stdio: 'inherit',
    ...options,
    env: { TURBO_TELEMETRY_DISABLED: '1', ...process.env, ...options.env, PATH: path },
  });
  const forward = (signal) => child.kill(signal);
  process.on('SIGINT', forward);
  process.on('SIGTERM', forward);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      process.off('SIGINT', forward);
      process.off('SIGTERM', forward);
      resolve(code ?? (signal ? 130 : 1));
    });
  });
}
