import { type Cidr, cidrContains, parseCidr } from '@edgemesh/core';
import { mustRun, type Runner } from '../exec.ts';

/** One usable unicast route of the main table. */
export interface KernelRoute {
  /** Prefix 0 for the default route. */
  readonly destination: Cidr;
  readonly device: string;
  /** Next hops; empty where the destination is on the link itself. */
  readonly gateways: readonly string[];
}

interface RouteJson {
  readonly dst?: string;
  readonly type?: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly via?: { readonly host?: string };
  readonly flags?: readonly string[];
  readonly nexthops?: readonly Pick<RouteJson, 'gateway' | 'via' | 'dev' | 'flags'>[];
}

/** The main routing tables of both families, longest prefix first. Routes that lead nowhere (blackhole, link down) are left out. */
export async function readRoutes(runner: Runner): Promise<readonly KernelRoute[]> {
  const routes: KernelRoute[] = [];
  for (const family of ['-4', '-6'] as const) {
    const { stdout } = await mustRun(runner, 'ip', [family, '-j', 'route', 'show', 'table', 'main']);
    for (const json of parseList(stdout)) {
      const route = readRoute(json, family);
      if (route !== undefined) routes.push(route);
    }
  }
  return routes.sort((a, b) => b.destination.prefix - a.destination.prefix);
}

/** The route that the kernel would take to the address; undefined when there is none. Rules and metrics are not looked at. */
export function routeTo(routes: readonly KernelRoute[], address: Uint8Array): KernelRoute | undefined {
  return routes.find(({ destination }) => cidrContains(destination, address));
}

function readRoute(json: RouteJson, family: '-4' | '-6'): KernelRoute | undefined {
  if (json.type !== undefined && json.type !== 'unicast') return undefined;
  const everything = family === '-4' ? '0.0.0.0/0' : '::/0';
  const destination = parseCidr(json.dst === 'default' ? everything : (json.dst ?? ''));
  const hops = (json.nexthops ?? [json]).filter(({ flags }) => !flags?.some((flag) => /dead|linkdown/.test(flag)));
  const device = hops[0]?.dev;
  if (destination === undefined || device === undefined) return undefined;
  const gateways = hops.flatMap((hop) => hop.gateway ?? hop.via?.host ?? []);
  return { destination, device, gateways };
}

function parseList(text: string): RouteJson[] {
  if (text.trim() === '') return [];
  const value: unknown = JSON.parse(text);
  return Array.isArray(value) ? (value as RouteJson[]) : [];
}
