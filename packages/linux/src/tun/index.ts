export { MAX_TUN_READ_BYTES, openTun, type TunDevice, type TunOptions, VIRTIO_HEADER_BYTES } from './device.ts';
export { limitUnsentBytes } from './socket-options.ts';
