import { writeFile } from 'node:fs/promises';
import { formatCidr, type Logger, messageOf, parseCidr, silentLogger } from '@edgemesh/core';
import { LinuxError } from '../errors.ts';
import { createRunner, mustRun, type Runner } from '../exec.ts';

/** A route of the pod network. Without gateway it leads into the TUN device; with a device, the gateway is behind that one. */
export interface PodRouteSpec {
  readonly cidr: string;
  readonly gateway?: string;
  readonly device?: string;
}

export interface PodRoutesOptions {
  /** The TUN device; it must be up. */
  readonly tun: string;
  /** Routing protocol number that marks our routes. */
  readonly protocol: number;
  readonly runner?: Runner;
  readonly log?: Logger;
  /** Writes a kernel setting (`net/ipv4/ip_forward`). Default: /proc/sys of this process' namespace. */
  readonly writeSetting?: (setting: string, value: string) => Promise<void>;
}

/** What the host routes apart from us. */
export interface PodRouteSurvey {
  readonly subnets: readonly { readonly cidr: string; readonly device: string }[];
  readonly foreign: ReadonlySet<string>;
}

/** The routes of the pod network in the kernel's main table. Calls must not overlap. */
export interface PodRoutes {
  survey(): Promise<PodRouteSurvey>;
  /** Makes the kernel have exactly these; returns the number of changes. Forwarding is switched on. */
  apply(routes: readonly PodRouteSpec[], own: { readonly gateways: readonly string[] }): Promise<number>;
  clear(): Promise<void>;
}

interface RouteInfo {
  readonly dst?: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly protocol?: string;
  readonly prefsrc?: string;
  readonly type?: string;
}

const FAMILIES = ['-4', '-6'] as const;
type Family = (typeof FAMILIES)[number];
const familyOf = (text: string): Family => (text.includes(':') ? '-6' : '-4');
const host = (address: string) => `${address}/${address.includes(':') ? 128 : 32}`;
const canonical = (text: string): string | undefined => {
  const cidr = parseCidr(text);
  return cidr === undefined ? undefined : formatCidr(cidr);
};

/** Creates the manager of the routes; the kernel is touched by the first `apply`. */
export function createPodRoutes(options: PodRoutesOptions): PodRoutes {
  const { tun, runner = createRunner(), log = silentLogger } = options;
  const protocol = String(options.protocol);
  const writeSetting = options.writeSetting ?? ((setting, value) => writeFile(`/proc/sys/${setting}`, value));
  const prepared = new Set<Family>();

  const list = async (family: Family, ...filter: string[]): Promise<RouteInfo[]> => {
    const { stdout } = await mustRun(runner, 'ip', [family, '-j', 'route', 'show', 'table', 'main', ...filter]);
    return parseRoutes(stdout);
  };
  const batch = async (family: Family, lines: readonly string[]): Promise<number> => {
    if (lines.length > 0) {
      await mustRun(runner, 'ip', [family, '-force', '-batch', '-'], { input: `${lines.join('\n')}\n` });
    }
    return lines.length;
  };

  /** A node with pods is a router; and packets from the TUN come back by another way than they would be sent. */
  const prepare = async (family: Family): Promise<void> => {
    if (prepared.has(family)) return;
    const settings =
      family === '-4'
        ? [
            ['net/ipv4/ip_forward', '1'],
            [`net/ipv4/conf/${tun}/rp_filter`, '2'],
          ]
        : [
            // Hosts without IPv6 of their own often switch it off for new links; the pods' ranges are another matter.
            [`net/ipv6/conf/${tun}/disable_ipv6`, '0'],
            [`net/ipv6/conf/${tun}/accept_ra`, '0'],
            ['net/ipv6/conf/all/forwarding', '1'],
          ];
    for (const [setting, value] of settings as [string, string][]) {
      await writeSetting(setting, value).catch((error: unknown) => {
        log.warn('a kernel setting of the pod network could not be written', { setting, error: messageOf(error) });
      });
    }
    prepared.add(family);
  };

  const ownAddresses = async (family: Family, gateways: readonly string[]): Promise<number> => {
    const { stdout } = await mustRun(runner, 'ip', [family, '-j', 'addr', 'show', 'dev', tun]);
    const [link] = parseJson<{ addr_info?: { local?: string; scope?: string }[] }>(stdout);
    const info = (link?.addr_info ?? []).filter(({ scope, local }) => scope !== 'link' && local !== undefined);
    const present = info.map(({ local }) => local as string);
    return await batch(family, [
      ...gateways
        .filter((address) => !present.includes(address))
        .map((address) => `addr add ${host(address)} dev ${tun}${family === '-6' ? ' nodad' : ''}`),
      ...present
        .filter((address) => !gateways.includes(address))
        .map((address) => `addr del ${host(address)} dev ${tun}`),
    ]);
  };

  const applyFamily = async (family: Family, all: readonly PodRouteSpec[], gateways: readonly string[]) => {
    const wanted = all.filter(({ cidr }) => familyOf(cidr) === family);
    const own = gateways.filter((address) => familyOf(address) === family);
    if (wanted.length + own.length > 0) await prepare(family);
    const changes = await ownAddresses(family, own);
    const lines = routeChanges(wanted, await list(family, 'proto', protocol), { tun, protocol, source: own[0] });
    return changes + (await batch(family, lines));
  };

  return {
    async survey() {
      const all = (await Promise.all(FAMILIES.map((family) => list(family)))).flat();
      const others = all.filter((route) => route.protocol !== protocol && route.dev !== tun && route.dst !== 'default');
      const subnets = others.flatMap(({ dst, gateway, dev, protocol: by }) => {
        const cidr = gateway === undefined && by === 'kernel' ? canonical(dst ?? '') : undefined;
        return cidr === undefined || cidr.startsWith('fe80:') ? [] : [{ cidr, device: dev ?? '' }];
      });
      return { subnets, foreign: new Set(others.flatMap(({ dst }) => canonical(dst ?? '') ?? [])) };
    },
    async apply(routes, own) {
      const results = await Promise.allSettled(FAMILIES.map((family) => applyFamily(family, routes, own.gateways)));
      // A kernel without IPv6 must not cost the node its IPv4 routes.
      const failed = results.find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      return results.reduce((sum, result) => sum + (result.status === 'fulfilled' ? result.value : 0), 0);
    },
    async clear() {
      for (const family of FAMILIES) {
        const present = await list(family, 'proto', protocol);
        await batch(family, routeChanges([], present, { tun, protocol, source: undefined }));
      }
    },
  };
}

interface RouteContext {
  readonly tun: string;
  readonly protocol: string;
  readonly source: string | undefined;
}

/** The `ip -batch` lines from what is to what should be. Pure. */
export function routeChanges(
  wanted: readonly PodRouteSpec[],
  present: readonly RouteInfo[],
  { tun, protocol, source }: RouteContext,
): string[] {
  const before = new Map(present.map((route) => [canonical(route.dst ?? ''), route]));
  const lines: string[] = [];
  const src = source === undefined ? '' : ` src ${source}`;
  for (const { cidr, gateway, device } of wanted) {
    const old = before.get(cidr);
    before.delete(cidr);
    // Behind a LAN the kernel picks the device and our address; elsewhere the far side takes only our pod-range address.
    const isPlain = gateway !== undefined && device === undefined;
    const same =
      old?.gateway === gateway && (isPlain ? old?.dev !== tun : old?.dev === (device ?? tun) && old.prefsrc === source);
    if (old !== undefined && same) continue;
    const via = gateway === undefined ? '' : ` via ${gateway}`;
    const way = isPlain ? via : `${via} dev ${device ?? tun}${device === undefined ? '' : ' onlink'}${src}`;
    lines.push(`route replace ${cidr}${way} proto ${protocol}`);
  }
  for (const route of before.values()) lines.push(`route del ${route.dst} proto ${protocol}`);
  return lines;
}

function parseRoutes(text: string): RouteInfo[] {
  return parseJson<RouteInfo>(text).filter(({ type }) => type === undefined || type === 'unicast');
}

function parseJson<T>(text: string): T[] {
  if (text.trim() === '') return [];
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? (value as T[]) : [];
  } catch (cause) {
    throw new LinuxError('unsupported', 'ip did not answer in JSON: iproute2 is too old', { cause });
  }
}
