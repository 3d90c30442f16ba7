import { LabError } from './errors.ts';
import { execCommand } from './process.ts';

/**
 * Tells why the lab cannot run here, or undefined when it can: root, `ip`, `nft`, and permission to make namespaces. With
 * `ci` a missing capability is an error instead: a pipeline that skips its network tests proves nothing.
 *
 * ```ts
 * const missing = await labMissing({ ci: process.env.CI !== undefined });
 * describe.skipIf(missing)('...', () => {});
 * ```
 */
export async function labMissing(options: { readonly ci: boolean }): Promise<string | undefined> {
  const reason = await findMissing();
  if (reason !== undefined && options.ci) throw new LabError('unsupported', `the network lab cannot run: ${reason}`);
  return reason;
}

async function findMissing(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'not root';
  for (const tool of ['ip', 'nft', 'tc', 'sysctl']) {
    const found = await execCommand('sh', ['-c', `command -v ${tool}`]);
    if (found.code !== 0) return `${tool} is not installed`;
  }
  const probe = await execCommand('unshare', ['--net', 'nft', 'add', 'table', 'inet', 'probe']);
  return probe.code === 0 ? undefined : `no network namespaces or no nftables: ${probe.stderr.trim()}`;
}
