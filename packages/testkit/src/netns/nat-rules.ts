import type { NatKind, RouterSpec } from './plan.ts';

/** The nftables ruleset of a router, complete with the removal of an older one. `addressOf` resolves host names. */
export function routerRules(router: RouterSpec, addressOf: (host: string) => string): string {
  const nat = router.nat ?? 'portPreserving';
  const lines = ['add table inet lab', 'delete table inet lab', 'table inet lab {'];
  if (nat === 'endpointIndependent') lines.push(...CONE_MAPS);
  lines.push(...natChains(nat, router, addressOf));
  if (nat !== 'routed') lines.push(...filterChains(router));
  lines.push('}');
  return `${lines.join('\n')}\n`;
}

/** Which inner address last used a port: masquerade keeps the port, so the port alone finds the way back. */
const CONE_MAPS = ['tcp', 'udp'].map(
  (protocol) => `map ${protocol}_cone { type inet_service : ipv4_addr; flags dynamic; timeout 120s; size 65535; }`,
);

function natChains(nat: NatKind, router: RouterSpec, addressOf: (host: string) => string): string[] {
  if (nat === 'routed' || nat === 'firewallOnly') return [];
  const cone = nat === 'endpointIndependent';
  const pre = (router.forwards ?? []).map((forward) => {
    const target = `${addressOf(forward.host)}:${forward.hostPort ?? forward.port}`;
    return `iifname wan0 meta nfproto ipv4 ${forward.protocol} dport ${forward.port} dnat ip to ${target}`;
  });
  if (cone) {
    pre.push('iifname wan0 meta nfproto ipv4 meta l4proto tcp dnat ip to tcp dport map @tcp_cone');
    pre.push('iifname wan0 meta nfproto ipv4 meta l4proto udp dnat ip to udp dport map @udp_cone');
  }
  const masquerade = nat === 'symmetric' ? 'masquerade fully-random' : 'masquerade';
  const learn = ['tcp', 'udp'].map(
    (p) => `iifname lan0 oifname wan0 meta nfproto ipv4 update @${p}_cone { ${p} sport : ip saddr }`,
  );
  return [
    `chain pre { type nat hook prerouting priority dstnat; ${pre.join('; ')}${pre.length > 0 ? ';' : ''} }`,
    ...(cone ? [`chain learn { type filter hook forward priority 10; ${learn.join('; ')}; }`] : []),
    `chain post { type nat hook postrouting priority srcnat; oifname wan0 meta nfproto ipv4 ${masquerade}; }`,
  ];
}

function filterChains(router: RouterSpec): string[] {
  const refuse = router.unsolicited === 'reset' ? 'iifname wan0 meta l4proto tcp reject with tcp reset' : '';
  const open6 = router.ipv6 === 'open' ? 'meta nfproto ipv6 accept; ' : '';
  const ndp = 'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, echo-request } accept';
  const answers = 'ct state established,related accept';
  return [
    `chain input { type filter hook input priority filter; iifname != wan0 accept; ${answers}; ${ndp}; icmp type echo-request accept; ${refuse}${refuse && ';'} drop; }`,
    `chain forward { type filter hook forward priority filter; iifname != wan0 accept; ${answers}; ct status dnat accept; ${ndp}; ${open6}${refuse}${refuse && ';'} drop; }`,
  ];
}
