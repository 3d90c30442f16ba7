import { canonicalIp, cidrContains, formatIp, parseCidr, parseIp } from '@edgemesh/core';
import { LabError } from './errors.ts';
import { type HostSpec, INTERNET, type LabPlan, type NatKind, type RouterSpec } from './plan.ts';

/** One plugged cable. */
export interface LabInterface {
  /** Name inside the namespace: eth0.. on hosts, lan0 and wan0 on routers. */
  readonly name: string;
  readonly lan: string;
  /** Name of the switch's port. */
  readonly port: string;
  readonly ipv4: string;
  readonly prefix4: number;
  readonly ipv6?: string;
}

/** A LAN with its final subnets. */
export interface LabLan {
  readonly name: string;
  readonly subnet4: string;
  readonly subnet6?: string;
  readonly mtu?: number;
}

/** A host or router with its final addresses. */
export interface LabNode {
  readonly kind: 'host' | 'router';
  readonly name: string;
  readonly interfaces: readonly LabInterface[];
  readonly gateway4?: string;
  readonly gateway6?: string;
  /** Subnets that lie behind a neighbouring router which does not translate. */
  readonly routes: readonly { readonly subnet: string; readonly via: string }[];
}

/** The address plan of a scenario. */
export interface LabLayout {
  readonly lans: readonly LabLan[];
  readonly nodes: readonly LabNode[];
}

const translates = (nat: NatKind = 'portPreserving') => nat !== 'firewallOnly' && nat !== 'routed';

function lanNames(plan: LabPlan): string[] {
  const names = new Set([INTERNET, ...Object.keys(plan.lans ?? {})]);
  for (const router of Object.values(plan.routers ?? {})) names.add(router.lan).add(router.uplink ?? INTERNET);
  for (const host of Object.values(plan.hosts)) for (const lan of hostLans(host)) names.add(lan);
  return [...names];
}

function hostLans(host: HostSpec): readonly string[] {
  return typeof host.lan === 'string' ? [host.lan] : host.lan;
}

function layOutLan(plan: LabPlan, name: string, index: number): LabLan {
  const spec = plan.lans?.[name];
  const inside = Object.values(plan.routers ?? {}).some((r) => r.lan === name && !translates(r.nat));
  const byRule = name === INTERNET ? '5.1.0.0/16' : inside ? `5.1.${100 + index}.0/24` : `10.${20 + index}.0.0/24`;
  const mtu = spec?.mtu;
  const subnet6 = plan.ipv6 ? `2a0e:5100:0:${index.toString(16)}::/64` : undefined;
  return {
    name,
    subnet4: spec?.subnet ?? byRule,
    ...(subnet6 === undefined ? {} : { subnet6 }),
    ...(mtu === undefined ? {} : { mtu }),
  };
}

/** Hands out addresses of one LAN: fixed ones first, the rest counting up. */
class AddressPool {
  readonly lan: LabLan;
  readonly #range;
  readonly #taken = new Set<string>();
  #ports = 0;

  constructor(lan: LabLan) {
    const range = parseCidr(lan.subnet4);
    if (range === undefined || range.bytes.length !== 4) throw new LabError('plan', `bad subnet ${lan.subnet4}`);
    this.lan = lan;
    this.#range = range;
  }

  reserve(address: string): void {
    const bytes = parseIp(address);
    if (bytes === undefined || !cidrContains(this.#range, bytes)) {
      throw new LabError('plan', `${address} is not in ${this.lan.subnet4} of LAN ${this.lan.name}`);
    }
    if (this.#taken.has(address)) throw new LabError('plan', `${address} is given twice on LAN ${this.lan.name}`);
    this.#taken.add(address);
  }

  /** The first free address from `base` plus `offset` upwards. */
  next(offset: number): string {
    for (let i = offset; i < 65_535; i++) {
      const bytes = Uint8Array.from(this.#range.bytes);
      bytes[2] = (bytes[2] as number) + (i >> 8);
      bytes[3] = i & 255;
      const text = formatIp(bytes);
      if (!cidrContains(this.#range, bytes)) break;
      if ((i & 255) === 255 || this.#taken.has(text)) continue;
      this.#taken.add(text);
      return text;
    }
    throw new LabError('plan', `LAN ${this.lan.name} has no free address`);
  }

  plug(name: string, address: string): LabInterface {
    const suffix = address.split('.').slice(2).join(':');
    return {
      name,
      lan: this.lan.name,
      port: `p${this.#ports++}`,
      ipv4: address,
      prefix4: this.#range.prefix,
      ...(this.lan.subnet6 === undefined
        ? {}
        : { ipv6: canonicalIp(`${this.lan.subnet6.slice(0, -3)}${suffix}`) as string }),
    };
  }
}

function fixedAddress(host: HostSpec, lan: string): string | undefined {
  if (typeof host.address === 'string') return hostLans(host)[0] === lan ? host.address : undefined;
  return host.address?.[lan];
}

/** Computes every address and route of a scenario. Pure: the same plan gives the same addresses. */
export function layOut(plan: LabPlan): LabLayout {
  const lans = lanNames(plan).map((name, index) => layOutLan(plan, name, index));
  const pools = new Map(lans.map((lan) => [lan.name, new AddressPool(lan)]));
  const pool = (lan: string) => pools.get(lan) as AddressPool;
  const routers = Object.entries(plan.routers ?? {});
  for (const host of Object.values(plan.hosts)) {
    for (const lan of hostLans(host)) {
      const address = fixedAddress(host, lan);
      if (address !== undefined) pool(lan).reserve(address);
    }
  }
  for (const [, router] of routers) if (router.address) pool(router.uplink ?? INTERNET).reserve(router.address);

  const inner = new Map<string, LabInterface>();
  const outer = new Map<string, LabInterface>();
  for (const [name, router] of routers) {
    if (router.lan === (router.uplink ?? INTERNET)) throw new LabError('plan', `router ${name} leads nowhere`);
    const uplink = pool(router.uplink ?? INTERNET);
    inner.set(name, pool(router.lan).plug('lan0', pool(router.lan).next(1)));
    outer.set(name, uplink.plug('wan0', router.address ?? uplink.next(uplink.lan.name === INTERNET ? 257 : 2)));
  }
  const context: LayoutContext = { routers, lans, inner, outer };
  const nodes: LabNode[] = routers.map(([name, router]) => ({
    kind: 'router',
    name,
    interfaces: [inner.get(name) as LabInterface, outer.get(name) as LabInterface],
    ...gatewayOf(context, router.uplink ?? INTERNET),
    routes: [...routesOf(context, router.lan, name), ...routesOf(context, router.uplink ?? INTERNET, name)],
  }));
  for (const [name, host] of Object.entries(plan.hosts)) {
    const interfaces = hostLans(host).map((lan, i) =>
      pool(lan).plug(`eth${i}`, fixedAddress(host, lan) ?? pool(lan).next(10)),
    );
    const withGateway = hostLans(host).find((lan) => routers.some(([, r]) => r.lan === lan));
    nodes.push({
      kind: 'host',
      name,
      interfaces,
      ...(withGateway === undefined ? {} : gatewayOf(context, withGateway)),
      routes: hostLans(host).flatMap((lan) => routesOf(context, lan)),
    });
  }
  return { lans, nodes };
}

interface LayoutContext {
  readonly routers: readonly (readonly [string, RouterSpec])[];
  readonly lans: readonly LabLan[];
  readonly inner: ReadonlyMap<string, LabInterface>;
  readonly outer: ReadonlyMap<string, LabInterface>;
}

function gatewayOf(context: LayoutContext, lan: string): { gateway4?: string; gateway6?: string } {
  const router = context.routers.find(([, spec]) => spec.lan === lan);
  const link = router && context.inner.get(router[0]);
  return link === undefined ? {} : { gateway4: link.ipv4, ...(link.ipv6 === undefined ? {} : { gateway6: link.ipv6 }) };
}

/** Routes that a member of `lan` needs to reach what lies below untranslating routers on that LAN. */
function routesOf(context: LayoutContext, lan: string, self?: string): { subnet: string; via: string }[] {
  const routes: { subnet: string; via: string }[] = [];
  for (const [name, spec] of context.routers) {
    if ((spec.uplink ?? INTERNET) !== lan || name === self) continue;
    const link = context.outer.get(name) as LabInterface;
    for (const below of subnetsBehind(context, spec)) {
      routes.push({ subnet: below, via: below.includes(':') ? (link.ipv6 as string) : link.ipv4 });
    }
  }
  return routes;
}

function subnetsBehind(context: LayoutContext, router: RouterSpec): string[] {
  const lan = context.lans.find((candidate) => candidate.name === router.lan) as LabLan;
  const below = context.routers.filter(([, spec]) => (spec.uplink ?? INTERNET) === router.lan);
  const own = [...(translates(router.nat) ? [] : [lan.subnet4]), ...(lan.subnet6 === undefined ? [] : [lan.subnet6])];
  return [...own, ...below.flatMap(([, spec]) => subnetsBehind(context, spec))].filter(
    (subnet) => subnet.includes(':') || !translates(router.nat),
  );
}
