export { type NormalisedObject, normaliseAny } from './any.ts';
export type { Backends } from './backends.ts';
export { normaliseEndpointSlice, SERVICE_NAME_LABEL } from './endpoint-slice.ts';
export { normaliseEndpoints } from './endpoints.ts';
export { compareEndpoints, mergeEndpoints } from './merge.ts';
export { normaliseNode } from './node.ts';
export { normaliseObject } from './object.ts';
export type { Normalised } from './report.ts';
export { normaliseService } from './service.ts';
