export * from './errors.ts';
export { type NodeFacts, renderNodeFile } from './ipam/node-file.ts';
export * from './options.ts';
export * from './plugin/index.ts';
export type { CommandOptions, CommandResult, Execute, Files, HostNetwork, PluginPorts } from './ports.ts';
export type { CniAttachment, CniDns, CniInterface, CniIp, CniResult, CniRoute, CniVerb } from './spec/types.ts';
