import type { ConsistentHashPolicy, HashKey, OutlierPolicy, PlainPolicy } from './policy.ts';
import {
  type Conditions,
  childOf,
  type RuleNode,
  readCount,
  readDurationMs,
  readObject,
  readText,
  refuseOthers,
  shown,
} from './rule-reader.ts';

const MAX_COUNT = 0xffff_ffff;

/** `loadBalancer`: undefined where nothing is set, or nothing that is understood. */
export function readLoadBalancer(node: RuleNode, conditions: Conditions): PlainPolicy | undefined {
  const fields = readObject(node, conditions);
  refuseOthers(node, ['simple', 'consistentHash'], 'not supported', conditions);
  const simple = fields.simple ?? undefined;
  const hash = fields.consistentHash ?? undefined;
  if (hash !== undefined) {
    if (simple !== undefined) conditions.push(`${node.path}.simple: consistentHash is set too and wins`);
    return readConsistentHash(childOf(node, 'consistentHash'), conditions);
  }
  return simple === undefined ? undefined : readSimple(childOf(node, 'simple'), conditions);
}

function readSimple(node: RuleNode, conditions: Conditions): PlainPolicy | undefined {
  switch (node.value) {
    case 'ROUND_ROBIN':
      return { kind: 'roundRobin' };
    case 'RANDOM':
      return { kind: 'random' };
    case 'LEAST_REQUEST':
    case 'LEAST_CONN':
      return { kind: 'leastRequest' };
    case 'PASSTHROUGH':
      conditions.push(
        `${node.path}: PASSTHROUGH has no address to keep behind a ClusterIP, endpoints are chosen at random`,
      );
      return { kind: 'passthrough' };
    case 'UNSPECIFIED':
      return undefined;
    default:
      conditions.push(`${node.path}: unknown value ${shown(node.value)}, using the default`);
      return undefined;
  }
}

const HASH_KEYS = ['useSourceIp', 'httpHeaderName', 'httpCookie', 'httpQueryParameterName'] as const;
const RING_FIELDS = ['minimumRingSize', 'ringHash', 'maglev'] as const;

function readConsistentHash(node: RuleNode, conditions: Conditions): ConsistentHashPolicy | undefined {
  const fields = readObject(node, conditions);
  refuseOthers(node, [...HASH_KEYS, ...RING_FIELDS], 'not supported', conditions);
  readRing(node, conditions);
  const set = HASH_KEYS.filter((name) => fields[name] !== undefined && fields[name] !== null && fields[name] !== false);
  if (set.length > 1) conditions.push(`${node.path}: only one of ${set.join(', ')} may be set, the first is used`);
  const [first] = set;
  const key = first && readHashKey(first, childOf(node, first), conditions);
  if (key !== undefined) return { kind: 'consistentHash', key };
  conditions.push(`${node.path}: names nothing to hash by, using the default`);
  return undefined;
}

/** Sizes of tables that rendezvous hashing does not need: checked, then without effect. */
function readRing(node: RuleNode, conditions: Conditions): void {
  readCount(childOf(node, 'minimumRingSize'), Number.MAX_SAFE_INTEGER, conditions);
  for (const [name, field] of [
    ['ringHash', 'minimumRingSize'],
    ['maglev', 'tableSize'],
  ] as const) {
    const table = childOf(node, name);
    readObject(table, conditions);
    refuseOthers(table, [field], 'not supported', conditions);
    readCount(childOf(table, field), Number.MAX_SAFE_INTEGER, conditions);
  }
}

function readHashKey(name: (typeof HASH_KEYS)[number], node: RuleNode, conditions: Conditions): HashKey | undefined {
  if (name === 'useSourceIp') {
    if (node.value === true) return { from: 'sourceIp' };
    conditions.push(`${node.path}: must be a boolean, ignored`);
    return undefined;
  }
  if (name === 'httpCookie') return readCookie(node, conditions);
  const text = readText(node, conditions);
  if (text === undefined) return undefined;
  return name === 'httpHeaderName' ? { from: 'header', name: text.toLowerCase() } : { from: 'query', name: text };
}

function readCookie(node: RuleNode, conditions: Conditions): HashKey | undefined {
  readObject(node, conditions);
  refuseOthers(node, ['name', 'path', 'ttl'], 'not supported', conditions);
  const name = readText(childOf(node, 'name'), conditions);
  if (name === undefined) return undefined;
  const path = readText(childOf(node, 'path'), conditions);
  const ttlMs = readDurationMs(childOf(node, 'ttl'), conditions);
  return { from: 'cookie', name, ...(path !== undefined && { path }), ...(ttlMs !== undefined && { ttlMs }) };
}

const OUTLIER_FIELDS = [
  'consecutiveErrors',
  'consecutive5xxErrors',
  'consecutiveGatewayErrors',
  'consecutiveLocalOriginFailures',
  'splitExternalLocalOriginErrors',
  'interval',
  'baseEjectionTime',
  'maxEjectionPercent',
  'minHealthPercent',
];

/** `outlierDetection`: undefined where it is not set. */
export function readOutlierDetection(node: RuleNode, conditions: Conditions): OutlierPolicy | undefined {
  if (node.value === undefined || node.value === null) return undefined;
  const fields = readObject(node, conditions);
  refuseOthers(node, OUTLIER_FIELDS, 'not supported', conditions);
  const count = (field: string, max = MAX_COUNT) => readCount(childOf(node, field), max, conditions);
  const legacy = count('consecutiveErrors');
  const errors = count('consecutive5xxErrors') ?? legacy;
  const gatewayErrors = count('consecutiveGatewayErrors');
  const localFailures = count('consecutiveLocalOriginFailures');
  const split = fields.splitExternalLocalOriginErrors === true;
  if (localFailures !== undefined && !split) {
    conditions.push(`${node.path}.consecutiveLocalOriginFailures: needs splitExternalLocalOriginErrors, ignored`);
  }
  const intervalMs = readDurationMs(childOf(node, 'interval'), conditions);
  const baseEjectionMs = readDurationMs(childOf(node, 'baseEjectionTime'), conditions);
  const maxEjectionPercent = count('maxEjectionPercent', 100);
  const minHealthPercent = count('minHealthPercent', 100);
  return {
    ...(errors !== undefined && { consecutiveErrors: errors }),
    ...(gatewayErrors !== undefined && { consecutiveGatewayErrors: gatewayErrors }),
    ...(split && { consecutiveConnectFailures: localFailures ?? 5 }),
    // An interval of nothing would forgive endlessly; Istio asks for a millisecond at least.
    ...(intervalMs !== undefined && { intervalMs: Math.max(1, intervalMs) }),
    ...(baseEjectionMs !== undefined && { baseEjectionMs: Math.max(1, baseEjectionMs) }),
    ...(maxEjectionPercent !== undefined && { maxEjectionPercent }),
    ...(minHealthPercent !== undefined && { minHealthPercent }),
  };
}
