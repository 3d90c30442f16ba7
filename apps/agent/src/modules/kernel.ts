import { access, constants, readFile } from 'node:fs/promises';
import type { AgentConfig } from '@edgemesh/config';
import { createKernelRules, createShellRunner } from '@edgemesh/linux';
import type { AgentModule } from '../context.ts';

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

/** False where IPv6 is compiled out or switched off: then the link cannot have such an address. */
export async function hasIpv6(): Promise<boolean> {
  try {
    const switches = ['all', 'default'].map((name) => readFile(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, 'utf8'));
    return (await Promise.all(switches)).every((value) => value.trim() === '0');
  } catch {
    // no such file: a kernel without IPv6
    return false;
  }
}

/** The kernel side: the agent's link now, rules when the proxy has a plan. */
export const kernelModule: AgentModule = {
  name: 'kernel',
  isWanted: ({ modules }, kernelMode) => kernelMode && (modules.edgeDNS.enable || modules.edgeProxy.enable),
  async start({ context, parts }) {
    const { config, log, metrics } = context();
    const { bridgeDeviceName: name, bridgeDeviceIP, bridgeDeviceIPv6 } = config.commonConfig;
    const addresses = [bridgeDeviceIP, ...(bridgeDeviceIPv6 !== '' && (await hasIpv6()) ? [bridgeDeviceIPv6] : [])];
    const { staleAfter, socketLB, podGroup } = config.modules.edgeProxy;
    const stack = new AsyncDisposableStack();
    const runner = stack.use(await createShellRunner());
    const kernel = stack.use(
      createKernelRules({
        runner,
        link: { name, addresses },
        ...(staleAfter > 0 && { staleAfterSeconds: staleAfter }),
        ...(socketLB === 'auto' && { socketLb: podGroup === '' ? {} : { podGroup } }),
        log,
        metrics,
      }),
    );
    try {
      await kernel.ensureLink();
    } catch (error) {
      await stack.disposeAsync();
      throw error;
    }
    parts.kernel = kernel;
    return stack;
  },
};
