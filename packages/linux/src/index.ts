export { type CleanupOptions, type CleanupStep, cleanupAll } from './cleanup.ts';
export { type ForgetReport, forgetFlows, type StaleFlows, staleFlows } from './conntrack/conntrack.ts';
export * from './errors.ts';
export * from './exec.ts';
export {
  createKernelRules,
  type KernelRules,
  type KernelRulesOptions,
  type KernelRulesStatus,
} from './kernel-rules.ts';
export { ensureLink, type LinkPlan, type LinkReport, removeLink } from './link/link.ts';
export {
  monitorNetwork,
  type NetworkEvent,
  type NetworkMonitor,
  type NetworkMonitorOptions,
} from './monitor/network-monitor.ts';
export { type FrontendCount, inspectNatChains, type NatChain, readFrontendCounts } from './nft/inspect.ts';
export type { Skipped, Touched } from './nft/state.ts';
export { type ApplyReport, createNftTable, type NftTable, type NftTableOptions, removeTable } from './nft/table.ts';
export { LINUX_DEFAULTS } from './options.ts';
export { readDefaultGateway } from './routes/default-gateway.ts';
export * from './routes/routes.ts';
export { createShellRunner, type ShellRunner, type ShellRunnerOptions } from './shell-runner.ts';
export { findProcessGroups, type ProcessGroups } from './socket-lb/cgroup.ts';
export type { SocketLbOptions } from './socket-lb/socket-lb.ts';
export { type DialQuietly, loadQuietDial, type QuietDialOptions } from './sockets/quiet-dial.ts';
export type { HostAndPort } from './sockets/socket-address.ts';
export {
  createPodRoutes,
  type PodRouteSpec,
  type PodRouteSurvey,
  type PodRoutes,
  type PodRoutesOptions,
} from './tun/pod-routes.ts';
export { openTun, TUN_HEADER_BYTES, TUN_MAX_FRAME_BYTES, type TunDevice, type TunOptions } from './tun/tun.ts';
export { createVxlan, type Vxlan, type VxlanOptions, type VxlanPeer } from './tun/vxlan.ts';
