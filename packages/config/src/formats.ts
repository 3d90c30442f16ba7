import { canonicalIp, formatCidr, parseCidr } from '@edgemesh/core';

/** One kind of text value: what it is called in a message, and its check. */
export interface TextFormat {
  /** Completes "expected ...". */
  readonly expected: string;
  /** The text in its canonical form; undefined when it is not one. */
  read(text: string): string | undefined;
}

const byPattern = (expected: string, pattern: RegExp): TextFormat => ({
  expected,
  read: (text) => (pattern.test(text) ? text : undefined),
});

const LABEL = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?';
const DOMAIN = new RegExp(`^(?=.{1,253}$)${LABEL}(\\.${LABEL})*$`);

function isPort(digits: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(digits) && Number(digits) <= 65_535;
}

/** Splits `host:port`, `[v6]:port` or `:port`; undefined when it is none of these. The host is empty for `:port`. */
export function splitHostPort(value: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(value);
  if (match === null || !isPort(match[3] as string)) return undefined;
  if (match[1] !== undefined && (!match[1].includes(':') || canonicalIp(match[1]) === undefined)) return undefined;
  return { host: match[1] ?? (match[2] as string), port: Number(match[3]) };
}

function joinHostPort(host: string, portNumber: number): string {
  return host.includes(':') ? `[${host}]:${portNumber}` : `${host}:${portNumber}`;
}

/** An address or a lower-case host name; undefined for anything else, `1.2.3.400` included. */
function readHost(value: string): string | undefined {
  const ip = canonicalIp(value);
  if (ip !== undefined) return ip;
  const name = value.toLowerCase();
  // All digits and dots is a mistyped address, never a name.
  return DOMAIN.test(name) && !/^[\d.]+$/.test(name) ? name : undefined;
}

function readWithOptionalPort(value: string, read: (host: string) => string | undefined): string | undefined {
  const host = read(value);
  if (host !== undefined) return host;
  const split = splitHostPort(value);
  const splitHost = split && split.port > 0 ? read(split.host) : undefined;
  return split && splitHost !== undefined ? joinHostPort(splitHost, split.port) : undefined;
}

/** Any text of one line. */
export const anyText = byPattern('a text of one line', /^\P{Cc}{1,1024}$/u);
export const filePath = byPattern('an absolute file path', /^\/\P{Cc}{0,4095}$/u);
/** Path and query of an HTTP request: visible ASCII from the first slash on. */
export const requestPath = byPattern('the path of an HTTP request such as /healthz', /^\/[!-~]{0,1023}$/);
/** Linux interface names: 1 to 15 bytes without slash or space (`IFNAMSIZ`). */
export const interfaceName = byPattern(
  'a network interface name (at most 15 characters, no space or slash)',
  /^(?!\.{1,2}$)[^\s/:\p{Cc}]{1,15}$/u,
);
/** RFC 1123 subdomain, as Kubernetes demands of node names. */
export const controlGroup = byPattern(
  'a control group relative to the root of the hierarchy, such as kubepods.slice',
  /^(?!(.*\/)?\.\.?(\/|$))[\w.@:\\-]{1,255}(\/[\w.@:\\-]{1,255}){0,15}$/,
);
export const nodeName = byPattern('a Kubernetes node name (lower-case letters, digits, "-" and ".")', DOMAIN);
export const namespaceName = byPattern(
  'a Kubernetes namespace (lower-case letters, digits and "-", at most 63)',
  new RegExp(`^${LABEL}$`),
);

export const domainName: TextFormat = {
  expected: 'a domain name such as cluster.local',
  read(value) {
    const name = value.toLowerCase().replace(/\.$/, '');
    return DOMAIN.test(name) ? name : undefined;
  },
};

export const ipAddress: TextFormat = { expected: 'an IPv4 or IPv6 address', read: canonicalIp };

export const cidr: TextFormat = {
  expected: 'an address range such as 10.244.0.0/16',
  read(value) {
    const range = value.includes('/') ? parseCidr(value) : undefined;
    return range && formatCidr(range);
  },
};

/** One address, or a range of them. */
export const ipRange: TextFormat = {
  expected: 'an IPv4 or IPv6 address or range such as 10.244.0.0/16',
  read: (value) => (value.includes('/') ? cidr.read(value) : canonicalIp(value)),
};

/** A name server: `10.96.0.10`, `10.96.0.10:5353`, `[fd00::10]:53`. */
export const dnsServer: TextFormat = {
  expected: 'an IP address, with or without port, such as 10.96.0.10 or [fd00::10]:53',
  read: (value) => readWithOptionalPort(value, canonicalIp),
};

/** Where a peer or a relay is reached: an address or name, with or without port, or a libp2p multiaddr. */
export const peerAddress: TextFormat = {
  expected: 'an IP address or host name, with or without port, or a multiaddr such as /ip4/203.0.113.7/tcp/20006',
  read(value) {
    if (value.startsWith('/'))
      return /^\/(ip4|ip6|dns|dns4|dns6|dnsaddr)\/[^\s/]+(\/[^\s/]+)*$/.test(value) ? value : undefined;
    return readWithOptionalPort(value, readHost);
  },
};

/** Where to listen: `127.0.0.1:10551`, `[::1]:80`, `:9999` (all addresses). */
export const listenAddress: TextFormat = {
  expected: 'an address and port such as 127.0.0.1:10551 or [::]:20006',
  read(value) {
    const split = splitHostPort(value);
    if (split === undefined) return undefined;
    const host = split.host === '' ? '' : readHost(split.host);
    return host === undefined ? undefined : joinHostPort(host, split.port);
  },
};

function readUrl(value: string): string | undefined {
  if (!URL.canParse(value)) return undefined;
  const { protocol, hostname } = new URL(value);
  return (protocol === 'http:' || protocol === 'https:') && hostname !== '' && !/\s/.test(value) ? value : undefined;
}

export const httpUrl: TextFormat = { expected: 'a URL such as https://127.0.0.1:10550', read: readUrl };

/** client-go also takes an API server without scheme and speaks http to it. */
export const apiServer: TextFormat = {
  expected: 'the URL of an API server such as https://192.0.2.1:6443',
  read: (value) => (value.includes('://') ? readUrl(value) : readWithOptionalPort(value, readHost)),
};
