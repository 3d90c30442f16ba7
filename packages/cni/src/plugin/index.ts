export { CNI_VERSIONS, type CniVersion } from '../spec/versions.ts';
export { type PluginInput, type PluginOutput, runPlugin } from './run.ts';
export { createSystemPorts, type SystemPortsOptions } from './system.ts';
