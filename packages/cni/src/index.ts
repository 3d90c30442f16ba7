export * from './errors.ts';
export { type NodeFacts, renderNodeFile } from './ipam/node-file.ts';
export { writeNodeFile } from './ipam/write-node-file.ts';
export * from './net/index.ts';
export * from './options.ts';
export { PACKET_FAULTS, type PacketFault } from './packets/inspect.ts';
export * from './plugin/index.ts';
export type { CommandOptions, CommandResult, Execute, Files, HostNetwork, PluginPorts } from './ports.ts';
export type { CniAttachment, CniDns, CniInterface, CniIp, CniResult, CniRoute, CniVerb } from './spec/types.ts';
