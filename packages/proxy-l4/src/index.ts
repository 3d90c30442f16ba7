export * from './connection-budget.ts';
export type { DialUpstreamOptions } from './dial-upstream.ts';
export * from './errors.ts';
export * from './local-dialer.ts';
export * from './options.ts';
export { type SocketState, socketByteStream } from './socket-stream.ts';
export * from './tcp-proxy.ts';
export * from './upstream.ts';
