import { access, constants } from 'node:fs/promises';
import type { AgentConfig } from '@edgemesh/config';
import { createKernelRules, type KernelRules } from '@edgemesh/linux';
import type { AgentContext } from '../context.ts';

/** Where Debian, Alpine and others put nft. */
const NFT_PATHS = ['/usr/sbin/nft', '/sbin/nft', '/usr/bin/nft', '/usr/local/sbin/nft'];

/** Whether traffic is captured by kernel rules: as configured, or with `auto` where we are root and nft is there. */
export async function isKernelMode(config: AgentConfig): Promise<boolean> {
  const { listeners } = config.modules.edgeProxy;
  if (listeners !== 'auto') return listeners === 'kernel';
  if (process.getuid?.() !== 0) return false;
  const found = await Promise.all(
    NFT_PATHS.map((path) =>
      access(path, constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.includes(true);
}

/** The kernel side: the agent's link now, rules when the proxy has a plan. */
export async function startKernel(context: AgentContext): Promise<KernelRules> {
  const { bridgeDeviceName: name, bridgeDeviceIP } = context.config.commonConfig;
  const kernel = createKernelRules({
    link: { name, addresses: [bridgeDeviceIP] },
    log: context.log,
    metrics: context.metrics,
  });
  await kernel.ensureLink();
  return kernel;
}
