export {
  type ControlKeys,
  type ControlPlaneOptions,
  createControlPlane,
  type ManagedControlPlane,
  type RelayEntry,
} from './control-plane.ts';
export type { PinConflict } from './state/pins.ts';
export { DATA_MAGIC, encodePreamble, readPreamble, TICKET_BYTES, writePreamble } from './transport/preamble.ts';
