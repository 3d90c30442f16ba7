export { type PortMappingOptions, portMappingDefaults } from './options.ts';
export { PortMapper, type PortMappingStatus } from './port-mapper.ts';
export type { MappingProtocol } from './protocol.ts';
