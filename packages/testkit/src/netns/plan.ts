/**
 * How a router treats what passes it.
 *
 * | kind | mapping | filtering |
 * | --- | --- | --- |
 * | `portPreserving` | Linux masquerade: keeps the source port, same for all destinations unless taken | address and port dependent |
 * | `endpointIndependent` | as above | endpoint independent: whoever sends to a mapped port gets in ("full cone") |
 * | `symmetric` | a random port for each destination (`fully-random`) | address and port dependent |
 * | `firewallOnly` | none, addresses are routed | stateful: only answers come in |
 * | `routed` | none | none |
 *
 * IPv6, where enabled, is never translated: NAT routers forward it behind a stateful firewall, as homes do,
 * unless they say `ipv6: 'open'`.
 */
export type NatKind = 'portPreserving' | 'endpointIndependent' | 'symmetric' | 'firewallOnly' | 'routed';

/** One switch with its subnet. */
export interface LanSpec {
  /** IPv4 subnet, `a.b.c.0/nn`. Default: 10.(20+n).0.0/24, or 5.1.(100+n).0/24 where the LAN's router does not translate. */
  readonly subnet?: string;
  readonly mtu?: number;
}

/** A machine. */
export interface HostSpec {
  /** The LANs it is plugged into, first first (eth0, eth1, ...). `internet` is always there. */
  readonly lan: string | readonly string[];
  /** Fixed IPv4 address per LAN; the rest is assigned from .10 upwards. */
  readonly address?: string | Readonly<Record<string, string>>;
  /** Nameservers for /etc/resolv.conf of the host's namespace. */
  readonly dns?: readonly string[];
  /** Search domains, together with `dns`. */
  readonly search?: readonly string[];
  /** Additional addresses with prefix on lo (`10.96.0.1/32`). */
  readonly loopback?: readonly string[];
  /** Forward packets (a node with pods). Default false. */
  readonly forwarding?: boolean;
}

/** A port of the router's outer address that leads to a host inside. */
export interface PortForward {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  readonly host: string;
  readonly hostPort?: number;
}

/** A router between a LAN and what lies above it. */
export interface RouterSpec {
  readonly lan: string;
  /** The LAN above. Default `internet`; another router's LAN makes double NAT. */
  readonly uplink?: string;
  /** Default `portPreserving`. */
  readonly nat?: NatKind;
  /** Fixed IPv4 address on the uplink. */
  readonly address?: string;
  /** What an unsolicited TCP packet gets. Default `drop`, as most home routers do. */
  readonly unsolicited?: 'drop' | 'reset';
  readonly forwards?: readonly PortForward[];
  /** What happens to IPv6 connections from outside. Default `firewall`: they are treated as unsolicited. */
  readonly ipv6?: 'firewall' | 'open';
}

/** A whole scenario as data. */
export interface LabPlan {
  readonly hosts: Readonly<Record<string, HostSpec>>;
  /** LANs need an entry only to set something; naming one in a host or router is enough. */
  readonly lans?: Readonly<Record<string, LanSpec>>;
  readonly routers?: Readonly<Record<string, RouterSpec>>;
  /** Adds 2a0e:5100::/32 addresses everywhere. Default false. */
  readonly ipv6?: boolean;
}

/** The name of the public segment, 5.1.0.0/16 (neither RFC 1918 nor TEST-NET: libraries filter those). */
export const INTERNET = 'internet';
