import { type Cidr, formatCidr } from '@edgemesh/core';
import { CniError } from '../errors.ts';
import type { PluginPorts } from '../ports.ts';
import type { Json, NetworkConfig } from '../spec/config.ts';
import { resultToJson } from '../spec/result.ts';
import type { CniRequest, CniVerb } from '../spec/types.ts';
import type { CniVersion } from '../spec/versions.ts';

/** Version in which delegates are spoken to: every plugin of the last years knows it. */
const DELEGATE_VERSION = '1.0.0';

export interface DelegateCall {
  readonly verb: CniVerb;
  readonly type: string;
  readonly config: Json;
  /** For GC of plugins that know no GC: another attachment than the request's. */
  readonly attachment?: { readonly containerId: string; readonly ifname: string };
}

/** Runs another CNI plugin with this request's variables; returns what it printed, parsed. Its error is passed on. */
export async function callDelegate(ports: PluginPorts, request: CniRequest, call: DelegateCall): Promise<unknown> {
  const program = ports.files.findProgram(request.path, call.type);
  if (program === undefined) {
    throw new CniError('delegate', `there is no plugin ${call.type} in CNI_PATH`, { details: request.path.join(':') });
  }
  const env = {
    ...request.env,
    CNI_COMMAND: call.verb,
    ...(call.attachment === undefined
      ? {}
      : { CNI_CONTAINERID: call.attachment.containerId, CNI_IFNAME: call.attachment.ifname, CNI_NETNS: '' }),
  };
  const result = await ports.execute(program, [], { input: JSON.stringify(call.config), env });
  const printed = parseOutput(result.stdout, call.type);
  if (result.code === 0) return printed;
  const { msg, details, code } = (printed ?? {}) as { msg?: unknown; details?: unknown; code?: unknown };
  throw new CniError('delegate', `${call.type}: ${typeof msg === 'string' ? msg : `exit code ${result.code}`}`, {
    details: typeof details === 'string' && details !== '' ? details : result.stderr.slice(0, 1000),
    ...(typeof code === 'number' ? { number: code } : {}),
  });
}

function parseOutput(stdout: string, type: string): unknown {
  if (stdout.trim() === '') return undefined;
  try {
    return JSON.parse(stdout);
  } catch (cause) {
    throw new CniError('delegate', `${type} printed no JSON`, { details: stdout.slice(0, 500), cause });
  }
}

/** True when the plugin understands version 1.1.0 and so GC and STATUS. */
export async function delegateIsModern(ports: PluginPorts, request: CniRequest, type: string): Promise<boolean> {
  const config = { cniVersion: DELEGATE_VERSION };
  const answer = await callDelegate(ports, request, { verb: 'VERSION', type, config });
  const { supportedVersions } = (answer ?? {}) as { supportedVersions?: unknown };
  return Array.isArray(supportedVersions) && supportedVersions.includes('1.1.0');
}

/** host-local's configuration for ranges. */
function hostLocal(ranges: readonly Cidr[]): Json {
  return {
    type: 'host-local',
    ranges: ranges.map((range) => [{ subnet: formatCidr(range) }]),
    routes: ranges.map((range) => ({ dst: range.bytes.length === 16 ? '::/0' : '0.0.0.0/0' })),
  };
}

/** An IPAM section with the ranges filled in where it is host-local's and names none itself. */
function fillRanges(ipam: Json | undefined, ranges: readonly Cidr[]): Json {
  if (ipam === undefined) return hostLocal(ranges);
  const named = ipam.ranges !== undefined || ipam.subnet !== undefined;
  return ipam.type === 'host-local' && !named ? { ...hostLocal(ranges), ...ipam } : ipam;
}

/** The configuration that a delegate gets: its own section under this network's name, with what the runtime added. */
export function delegateConfig(config: NetworkConfig, ranges: readonly Cidr[], modern = false): Json {
  const { raw, delegate = {} } = config;
  const cniVersion = modern ? '1.1.0' : lower(config.cniVersion);
  const kept = ['args', 'runtimeConfig', 'dns', 'cni.dev/valid-attachments', 'cni.dev/attachments'];
  return {
    ...Object.fromEntries(kept.filter((key) => raw[key] !== undefined).map((key) => [key, raw[key]])),
    ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
    // The node is the pods' router, and addresses are kept between nodes.
    ...(delegate.type === 'bridge' ? { bridge: config.bridge, isGateway: true, hairpinMode: config.hairpinMode } : {}),
    ...delegate,
    ipam: fillRanges(delegate.ipam as Json | undefined, ranges),
    ...previous(config, cniVersion),
    name: config.name,
    cniVersion,
  };
}

/** The configuration for an IPAM plugin below our own bridge. */
export function ipamConfig(config: NetworkConfig, ranges: readonly Cidr[], modern = false): Json {
  const ipam = fillRanges(config.raw.ipam as Json, ranges);
  const cniVersion = modern ? '1.1.0' : lower(config.cniVersion);
  return { ...config.raw, ...previous(config, cniVersion), ipam, cniVersion };
}

const lower = (version: CniVersion): CniVersion => (version === '1.1.0' ? DELEGATE_VERSION : version);

/** The earlier result in the delegate's version: plugins refuse any other. */
function previous({ prevResult }: NetworkConfig, version: CniVersion): Json {
  return prevResult === undefined ? {} : { prevResult: resultToJson(prevResult, version) };
}
