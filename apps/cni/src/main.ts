import { readFileSync } from 'node:fs';
import { CNI_VERSIONS, createSystemPorts, runPlugin } from '@edgemesh/cni/plugin';

/** What somebody sees who runs the plugin by hand. */
const USAGE = `edgemesh-cni: a CNI plugin (versions ${CNI_VERSIONS.join(', ')}), executed by the container runtime.
CNI_COMMAND says what to do, the network configuration comes on stdin. See docs/cni.md.\n`;

if (process.env.CNI_COMMAND === undefined) {
  process.stderr.write(USAGE);
  process.exitCode = 2;
} else {
  const stdin = process.env.CNI_COMMAND === 'VERSION' && process.stdin.isTTY ? '' : readFileSync(0, 'utf8');
  const { stdout, code } = await runPlugin({ env: process.env, stdin }, createSystemPorts());
  process.stdout.write(stdout);
  process.exitCode = code;
}
