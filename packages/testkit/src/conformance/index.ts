export * from './balancer.ts';
export * from './byte-stream.ts';
export * from './datagram-pair.ts';
export * from './datagrams.ts';
export * from './dialer.ts';
export * from './recorders.ts';
export * from './stream-pair.ts';
