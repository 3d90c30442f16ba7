import { messageOf } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import type { PluginPorts } from '../ports.ts';
import { parseConfig } from '../spec/config.ts';
import { parseRequest } from '../spec/request.ts';
import { resultToJson } from '../spec/result.ts';
import type { CniVerb } from '../spec/types.ts';
import { CNI_VERSIONS } from '../spec/versions.ts';
import { add } from './add.ts';
import { check } from './check.ts';
import { createCall } from './context.ts';
import { del } from './del.ts';
import { gc } from './gc.ts';
import { status } from './status.ts';

export interface PluginInput {
  /** The process environment; CNI_* variables are read from it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: string;
}

/** What the process prints and how it exits. */
export interface PluginOutput {
  readonly stdout: string;
  readonly code: 0 | 1;
}

/** Serves one call of the runtime, as the CNI specification 1.1 has it. Never rejects: errors are answers. */
export async function runPlugin(input: PluginInput, ports: PluginPorts): Promise<PluginOutput> {
  try {
    const answer = await serve(input, ports);
    return { stdout: answer === undefined ? '' : `${JSON.stringify(answer)}\n`, code: 0 };
  } catch (error) {
    return { stdout: `${JSON.stringify(toErrorObject(error, claimedVersion(input.stdin)))}\n`, code: 1 };
  }
}

async function serve(input: PluginInput, ports: PluginPorts): Promise<object | undefined> {
  const request = parseRequest(input.env);
  if (request.verb === 'VERSION') return { cniVersion: claimedVersion(input.stdin), supportedVersions: CNI_VERSIONS };
  const config = parseConfig(input.stdin, request.verb);
  const call = createCall(request, config, ports);
  if (request.verb === 'ADD') return resultToJson(await add(call), config.cniVersion);
  const verbs: Readonly<Record<Exclude<CniVerb, 'ADD' | 'VERSION'>, (one: typeof call) => Promise<void>>> = {
    DEL: del,
    CHECK: check,
    GC: gc,
    STATUS: status,
  };
  await verbs[request.verb](call);
  return undefined;
}

/** The version that the runtime speaks, as far as one can tell; the newest otherwise. */
function claimedVersion(stdin: string): string {
  const newest = CNI_VERSIONS[CNI_VERSIONS.length - 1] as string;
  try {
    const { cniVersion } = JSON.parse(stdin) as { cniVersion?: unknown };
    return typeof cniVersion === 'string' && /^\d+\.\d+\.\d+$/.test(cniVersion) ? cniVersion : newest;
  } catch {
    return newest; // VERSION may come without any input
  }
}

function toErrorObject(error: unknown, cniVersion: string): object {
  if (!(error instanceof CniError)) return { cniVersion, code: 5, msg: messageOf(error) };
  return {
    cniVersion,
    code: error.number,
    msg: error.message,
    ...(error.details ? { details: error.details } : {}),
  };
}
