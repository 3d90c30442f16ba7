import { Resolver } from 'node:dns/promises';
import type { Status } from './agent-client.ts';
import { duration, socketAddress } from './text.ts';

/** One thing that was looked at. */
export interface Finding {
  readonly level: 'ok' | 'warning' | 'error';
  readonly what: string;
  /** What to do; empty when all is well. */
  readonly advice: string;
}

/** After this time without word from the cluster the catalog deserves a warning, in milliseconds. */
const OLD_CATALOG_MS = 15 * 60_000;
const DNS_TIMEOUT_MS = 2_000;

const ok = (what: string): Finding => ({ level: 'ok', what, advice: '' });
const warning = (what: string, advice: string): Finding => ({ level: 'warning', what, advice });
const error = (what: string, advice: string): Finding => ({ level: 'error', what, advice });

/** Everything that the agent's status tells. */
export function examine(status: Status): Finding[] {
  return [
    ...status.modules.map(examineModule),
    examineCatalog(status.catalog),
    ...examineRelays(status),
    ...examinePeers(status.peers),
    ...examineDns(status.details.dns),
    ...examineProxy(status.details.proxy),
  ];
}

function examineModule({ name, state, reason }: Status['modules'][number]): Finding {
  if (state === 'ready') return ok(`module ${name} is ready`);
  const what = `module ${name} is ${state}${reason && `: ${reason}`}`;
  return state === 'starting'
    ? warning(what, 'wait a moment and ask again')
    : error(what, `it is started again by itself; the agent's log has lines with module=${name}`);
}

function examineCatalog({ services, source, ageMs }: Status['catalog']): Finding {
  const age = ageMs === null ? 'never confirmed' : `confirmed ${duration(ageMs)} ago`;
  const what = `catalog: ${services} Services, ${source}, ${age}`;
  if (source === 'none')
    return error(
      what,
      'no source has answered: check kubeAPIConfig (API server, metaServer) or the folder of manifests',
    );
  if (source === 'snapshot')
    return warning(what, 'the cluster is not reached; services go on as they were. Check the link and kubeAPIConfig');
  if (services === 0)
    return warning(what, 'the source answers and has no Services: is it the right cluster, is RBAC in place?');
  if (ageMs === null || ageMs > OLD_CATALOG_MS)
    return warning(what, 'nothing has confirmed it for long: check the link');
  return ok(what);
}

function examineRelays({ relays, peers }: Status): Finding[] {
  if (relays.length === 0)
    return [warning('no relay is configured', 'nodes of other LANs need one: modules.edgeTunnel.relayNodes')];
  const connected = relays.filter(({ state }) => state === 'connected').length;
  const what = `${connected} of ${relays.length} relays connected`;
  if (connected === relays.length) return [ok(what)];
  const reasons = relays
    .filter(({ state }) => state !== 'connected')
    .map(({ nodeName, addresses, reason, state }) => {
      const address = addresses[0] ? socketAddress(addresses[0]) : 'without address';
      return `${nodeName ?? address} (${address}): ${reason ?? state}`;
    });
  const advice = reasons.join('; ');
  const isLost = connected === 0 && !peers.some(({ state }) => state === 'active');
  return [isLost ? error(what, advice) : warning(what, advice)];
}

function examinePeers(peers: Status['peers']): Finding[] {
  return peers.map(({ node, state, path, reason }) => {
    if (state === 'active') return ok(`node ${node} is reached, ${path}`);
    const what = `node ${node} is ${state}${reason === undefined ? '' : `: ${reason}`}`;
    if (state === 'failed')
      return error(what, 'is its agent running, with the same mesh secret and a relay in common?');
    return state === 'connecting' ? warning(what, 'a path is being sought') : ok(`node ${node}: no traffic at present`);
  });
}

function examineDns(dns: Status['details']['dns']): Finding[] {
  if (dns === undefined) return [];
  const findings: Finding[] = [];
  for (const { address, port, state, transport } of dns.listeners ?? []) {
    if (state !== 'up')
      findings.push(
        error(
          `DNS does not listen on ${toText({ address, port })}/${transport}`,
          'does something else have that port? See the log',
        ),
      );
  }
  const upstreams = dns.upstreams ?? [];
  const down = upstreams.filter(({ state }) => state !== 'up');
  const names = down.map((upstream) => `${toText(upstream)} ${upstream.lastFailure ?? ''}`.trim()).join(', ');
  if (upstreams.length === 0)
    findings.push(warning('DNS has no upstream', 'names outside the cluster do not resolve: see /etc/resolv.conf'));
  else if (down.length === upstreams.length)
    findings.push(
      warning(`no DNS upstream answers: ${names}`, 'names outside the cluster do not resolve; Services do'),
    );
  else if (down.length > 0) findings.push(warning(`DNS upstreams down: ${names}`, 'the others are used'));
  return findings;
}

function toText({ address: host, port }: { readonly address: string; readonly port: number }): string {
  return socketAddress({ host, port });
}

function examineProxy(proxy: Status['details']['proxy']): Finding[] {
  if (proxy === undefined) return [];
  const findings = (proxy.problems ?? []).map((problem) => error(`proxy: ${problem}`, 'the Service is not served'));
  for (const [service, conditions] of Object.entries(proxy.conditions ?? {}))
    for (const condition of conditions)
      findings.push(warning(`${service}: ${condition}`, 'the default is in force instead'));
  return findings;
}

/** Asks the agent's DNS as an application would. Nothing is found where the agent has no DNS. */
export async function examineNames(status: Status): Promise<Finding[]> {
  const listeners = (status.details.dns?.listeners ?? []).filter(
    ({ transport, state }) => transport === 'udp' && state === 'up',
  );
  const domain = status.details.dns?.zone?.domains[0]?.replace(/\.$/, '');
  if (domain === undefined) return [];
  return Promise.all(
    listeners.map(async (listener) => {
      const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 1 });
      const server = toText(listener);
      resolver.setServers([server]);
      const name = `dns-version.${domain}`;
      try {
        await resolver.resolveTxt(name);
        return ok(`DNS on ${server} answers`);
      } catch (failure) {
        return error(
          `DNS on ${server} does not answer ${name}: ${(failure as Error).message}`,
          'is a firewall in between?',
        );
      }
    }),
  );
}

export function showFindings(findings: readonly Finding[]): string {
  const marks = { ok: '+', warning: '!', error: 'x' };
  const lines = findings.map(({ level, what, advice }) => `${marks[level]} ${what}${advice && `\n    ${advice}`}`);
  const count = (level: Finding['level']) => findings.filter((finding) => finding.level === level).length;
  return [...lines, '', `${count('ok')} in order, ${count('warning')} to look at, ${count('error')} wrong`].join('\n');
}
