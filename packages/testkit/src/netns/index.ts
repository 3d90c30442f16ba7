export { type LabInterface, type LabLan, type LabLayout, type LabNode, layOut } from './addressing.ts';
export * from './errors.ts';
export * from './lab.ts';
export { cleanupStaleLabs, LAB_PREFIX } from './names.ts';
export { LAB_DEFAULTS } from './options.ts';
export * from './plan.ts';
export * from './poll.ts';
export {
  type ExecOptions,
  type ExecResult,
  execCommand,
  type LabProcess,
  mustExec,
  type SpawnOptions,
  spawnProcess,
} from './process.ts';
export { type ResponderOptions, startResponder } from './responder.ts';
export { labMissing } from './support.ts';
export { type TallyOptions, tally } from './tally.ts';
