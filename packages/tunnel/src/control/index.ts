export type {
  CircuitLimits,
  ControlKeys,
  ControlPlaneOptions,
  ManagedControlPlane,
  RelayEntry,
} from './control-options.ts';
export { createControlPlane } from './control-plane.ts';
export type { NetworkEvents, WatchNetwork } from './network-watch.ts';
export { isLoopbackHost, isPrivateHost } from './own-addresses.ts';
export type { PinConflict } from './state/pins.ts';
export { pickLocalPort } from './transport/local-port.ts';
export { fromMultiaddr, plainIp, toMultiaddr } from './transport/multiaddrs.ts';
export { DATA_MAGIC, encodePreamble, readPreamble, TICKET_BYTES, writePreamble } from './transport/preamble.ts';
