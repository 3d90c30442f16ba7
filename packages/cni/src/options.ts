/** Defaults and limits of the pod network. Durations in milliseconds, sizes in bytes. */
export const CNI_DEFAULTS = {
  /** Bridge that holds the pods of this node. At most 15 characters. */
  bridge: 'emcni0',
  /** Start of the host-side link names; the rest is a hash of network, container and interface. */
  linkPrefix: 'emc',
  /** Alias of every link that we make: GC and cleanup touch nothing else. */
  linkAlias: 'edgemesh-cni',
  /** Our nftables table, family bridge: what each pod may send from. */
  spoofTable: 'edgemesh_pods',
  /** MTU of pod links where neither the configuration nor the agent says one. */
  mtu: 1_500,
  /**
   * Largest packet that a pod hands to segmentation offload. Below 64 KiB less headers, or packets for the TUN device are cut
   * twice and throughput falls to a tenth (measured).
   */
  gsoMaxBytes: 64_000,
  /** Where leases live. On disk, not in /run: a pod that survives the agent keeps its address. */
  dataDir: '/var/lib/cni/edgemesh',
  /** Written by the agent, read by the plugin: pod ranges of this node, MTU. On disk: a node must start pods before it is online. */
  nodeFile: '/var/lib/edgemesh/cni-node.json',
  /** Longest network configuration taken from stdin. libcni sends a few KiB. */
  maxConfigBytes: 1_048_576,
  /** One command or delegate. The slowest seen is 40 ms; a frozen one must not hold up the kubelet. */
  commandTimeoutMs: 20_000,
  /** Output kept of one command: `ip -j` of 4,000 links. */
  maxOutputBytes: 8_388_608,
  /** Addresses of one node's leases; the kubelet allows 110 pods unless told otherwise. */
  maxLeases: 16_384,
  /** Addresses per range that are tried before a range counts as full. */
  maxScan: 65_536,
} as const;

/** Defaults and limits of packet forwarding between nodes. */
export const NETWORK_DEFAULTS = {
  /** The TUN device. */
  tunName: 'edgemesh-tun',
  /** Our nftables table that gives pods the node's address outside the mesh. */
  table: 'edgemesh_cni',
  /** The VXLAN device, its table of rules, and its VNI: free of flannel's 1 and Cilium's 2. */
  vxlanName: 'edgemesh-vxlan',
  vxlanTable: 'edgemesh_vxlan',
  vxlanId: 94,
  /** UDP port of VXLAN where nothing else is said: Linux's own, older than IANA's 4789. */
  vxlanPort: 8_472,
  /** What VXLAN over IPv4 adds to a packet: Ethernet, IPv4, UDP and VXLAN headers. */
  vxlanOverheadBytes: 50,
  /** Marks our routes in the kernel (`proto 94`, free in rt_protos): nothing else is ever changed or removed. */
  routeProtocol: 94,
  /** Quiet time after a change before routes are planned anew: a node that joins comes as several events. */
  settleMs: 100,
  /** Longest that a stream of changes may hold off a plan. Together with settleMs well below the promised 5 s. */
  maxSettleMs: 1_000,
  /** Routes are compared with the kernel this often: interfaces that go down take routes with them. */
  verifyIntervalMs: 4_000,
  /** Nodes with pod ranges; Kubernetes itself ends at 5,000. */
  maxNodes: 5_000,
  /** Ranges of one node. Kubernetes allows one per family. */
  maxRangesPerNode: 4,
  /** Pause before a packet channel that failed is opened again, doubling. Packets meanwhile are dropped and counted. */
  reopenInitialMs: 200,
  reopenMaxMs: 5_000,
  /** Channels without a packet for this long are closed; the session behind may then go too. */
  idleChannelMs: 300_000,
  /** How often idle channels are looked for. */
  sweepIntervalMs: 30_000,
  /** Where tunnels listen: modules.edgeTunnel.listenPort. */
  tunnelPorts: [20_006],
  /** A whole LAN probe, and how often a node on the same subnet is probed. */
  probeTimeoutMs: 1_000,
  probeIntervalMs: 2_000,
  /** Probes in a row that must fail before a direct route is given up. */
  probeFailures: 2,
} as const;

/** Limits of NetworkPolicy. */
export const POLICY_DEFAULTS = {
  /** Our nftables table, family inet. */
  table: 'edgemesh_policy',
  /** Pods of this node that policies are computed for. */
  maxPods: 1_000,
  /** Policies and their rules; beyond, a pod is closed rather than open, and it is reported. */
  maxRulesPerPod: 500,
  /** Addresses in one rule. */
  maxAddressesPerRule: 20_000,
  /** Quiet time after a change before rules are computed anew. */
  settleMs: 100,
  /** Pauses before a failed apply is tried again. */
  retryInitialMs: 500,
  retryMaxMs: 30_000,
} as const;
