/** Defaults and limits of the kernel room. Durations in milliseconds unless the name says seconds. */
export const LINUX_DEFAULTS = {
  /** One command (nft, ip, conntrack). A 100,000-endpoint load takes 2 s on a small machine; ten times that. */
  commandTimeoutMs: 20_000,
  /** Output kept per command: a listing of 100,000 endpoints is 9 MB. Beyond, the command is killed. */
  maxOutputBytes: 64 * 1024 * 1024,
  /** Name of our nftables table (family inet). */
  table: 'edgemesh',
  /** Offset from dstnat (-100) and so ahead of kube-proxy and of container port mappings, whoever starts first. */
  natPriority: -110,
  /** Packet-mark bit between prerouting and postrouting for "masquerade this". Free of kube-proxy (0x4000, 0x8000), CNI portmap (0x2000). */
  masqueradeMark: 0x1000,
  /** How often the agent says that it lives and re-asserts the base rules. */
  heartbeatIntervalMs: 5_000,
  /** How long redirections to the agent outlive it: the watchdog's time. Four missed heartbeats. */
  agentTimeoutSeconds: 20,
  /** How often the whole table is compared with what it should be. */
  verifyIntervalMs: 60_000,
  /** Sets and maps with more elements than this are left out of the comparison: listing 100,000 costs seconds of CPU. */
  maxVerifiedElements: 20_000,
  /** Elements of the table; Service ports beyond are left to user space, in the plan's order. */
  maxElements: 500_000,
  /** Clients remembered per endpoint of a ClientIP Service; further ones are balanced without memory. kube-proxy: unlimited. */
  maxAffinityClients: 65_535,
  /** conntrack commands of one change (3 ms each); what is beyond dies by the kernel's UDP timeout (30 to 120 s of silence). */
  maxForgottenFlows: 500,
  /** Shortest and longest pause before a failed apply is tried again. */
  retryInitialMs: 500,
  retryMaxMs: 30_000,
  /** Elements in one nft statement: nft's parser slows down on very long ones. */
  elementsPerStatement: 2_000,
  /** Rules rendered at once where a whole table is loaded: what they need in memory is given back before the next are. */
  rulesPerPart: 500,
  /** The agent's link: COMPAT commonConfig.bridgeDeviceName and bridgeDeviceIP. */
  linkName: 'edgemesh0',
  linkAddress: '169.254.96.16',
  /** Routing table that catches Service addresses where the node has no other route (offline, no default route). */
  routeTable: 9616,
  /** Rule preference: after `main` (32766) and `default` (32767). */
  routePreference: 32_800,
  /** Pause before `ip monitor` is started again, should it end. */
  monitorRestartMs: 5_000,
  /** MTU of a TUN device: 1500 less the tunnel's frames and TLS. With segmentation offload it does not limit throughput. */
  tunMtu: 1_400,
  /** Packets of up to 64 KiB that wait in the kernel. The kernel's default of 500 means seconds on a slow link. */
  tunQueueLength: 128,
  /** Bytes read from a TUN device in one turn of the event loop: what one write of a fast tunnel takes. 1 MB made it drop packets. */
  tunTurnBytes: 196_608,
  /** Packets read in one turn: small ones cost their time as well. */
  tunTurnPackets: 32,
} as const;
