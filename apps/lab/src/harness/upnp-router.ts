import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LabProcess, LabRouter } from '@edgemesh/testkit/netns';

export interface UpnpRouterOptions {
  readonly upnp: boolean;
  /** PCP and NAT-PMP. */
  readonly pcp: boolean;
}

/** Where miniupnpd puts its rules; the lab's own filter lets pass what was translated on the way in. */
const TABLE = `
table inet filter {
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority srcnat; jump postrouting_miniupnpd; }
  chain forward { type filter hook forward priority filter; jump miniupnpd; }
}
`;

/** Makes a router of the lab map ports for those inside, with Debian's miniupnpd. Ends with the lab. */
export async function startUpnpRouter(router: LabRouter, { upnp, pcp }: UpnpRouterOptions): Promise<LabProcess> {
  await router.must('nft', ['-f', '-'], { input: `add table inet filter\ndelete table inet filter\n${TABLE}` });
  const folder = await mkdtemp(join(tmpdir(), 'edgemesh-upnp-'));
  const yes = (value: boolean) => (value ? 'yes' : 'no');
  const config = [
    'ext_ifname=wan0',
    'listening_ip=lan0',
    `enable_upnp=${yes(upnp)}`,
    `enable_natpmp=${yes(pcp)}`,
    'allow 1024-65535 0.0.0.0/0 1024-65535',
    '',
  ];
  await writeFile(join(folder, 'miniupnpd.conf'), config.join('\n'));
  const args = ['-d', '-f', join(folder, 'miniupnpd.conf'), '-P', join(folder, 'pid')];
  const child = router.spawn('miniupnpd', args);
  await child.waitForLine(/listening on|HTTP listening|PCP/i);
  return child;
}
