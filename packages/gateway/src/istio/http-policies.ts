import type { CorsPolicy, FaultPolicy, RetryCondition, RetryPolicy, StringMatch } from '@edgemesh/proxy-http';
import type { Field } from '../read/field.ts';
import { readStringMatch } from './string-match.ts';

const CONDITIONS: Readonly<Record<string, readonly RetryCondition[]>> = {
  '5xx': ['5xx', 'connect-failure', 'refused-stream', 'reset', 'per-try-timeout'],
  'gateway-error': ['gateway-error', 'connect-failure', 'refused-stream', 'reset', 'per-try-timeout'],
  'connect-failure': ['connect-failure'],
  'refused-stream': ['refused-stream'],
  'retriable-4xx': ['retriable-4xx'],
  reset: ['reset'],
  'reset-before-request': ['refused-stream', 'connect-failure'],
};
/** Envoy's names for statuses of gRPC; these arrive in trailers, too late for another try. `unavailable` is 503 in a head. */
const OF_GRPC = ['cancelled', 'deadline-exceeded', 'internal', 'resource-exhausted', 'unavailable'];
const MAX_ATTEMPTS = 100;

/** HTTPRetry. Without `retryOn` as Istio's default: nothing was processed, or 503. */
export function readRetries(field: Field): RetryPolicy | undefined {
  if (!field.isObject()) return undefined;
  field.only(['attempts', 'perTryTimeout', 'retryOn', 'retryRemoteLocalities', 'retryIgnorePreviousHosts', 'backoff']);
  const attempts = field.get('attempts').count(0, MAX_ATTEMPTS) ?? 0;
  const perTryTimeoutMs = field.get('perTryTimeout').durationMs();
  const backoffMs = field.get('backoff').durationMs();
  const written = field.get('retryOn').name();
  const { on, statuses } = readRetryOn(written ?? 'connect-failure,refused-stream,503', field.get('retryOn'));
  return {
    attempts,
    on,
    ...(statuses.length > 0 && { statuses }),
    ...(perTryTimeoutMs ? { perTryTimeoutMs } : {}),
    ...(backoffMs ? { backoffMs } : {}),
    // Whoever names the conditions gets them for every method, as from Envoy.
    ...(written !== undefined && { nonIdempotent: true }),
  };
}

function readRetryOn(written: string, field: Field): { on: RetryCondition[]; statuses: number[] } {
  const on = new Set<RetryCondition>();
  const statuses = new Set<number>();
  for (const word of written.split(',').map((part) => part.trim())) {
    const known = Object.hasOwn(CONDITIONS, word) ? CONDITIONS[word] : undefined;
    if (known !== undefined) for (const condition of known) on.add(condition);
    else if (/^[1-5]\d\d$/.test(word)) statuses.add(Number(word));
    else if (word === 'unavailable') statuses.add(503);
    else if (OF_GRPC.includes(word))
      field.complain(`${word} is not supported: gRPC statuses come too late for another try`);
    else if (word !== '' && word !== 'retriable-status-codes') field.complain(`${word.slice(0, 40)} is not supported`);
  }
  return { on: [...on], statuses: [...statuses] };
}

/** HTTPFaultInjection. */
export function readFault(field: Field): FaultPolicy | undefined {
  if (!field.isObject()) return undefined;
  field.only(['delay', 'abort']);
  const delay = readDelay(field.get('delay'));
  const abort = readAbort(field.get('abort'));
  if (delay === undefined && abort === undefined) return undefined;
  return { ...(delay && { delay }), ...(abort && { abort }) };
}

function readDelay(field: Field): FaultPolicy['delay'] {
  if (!field.isObject()) return undefined;
  field.only(['percentage', 'percent', 'fixedDelay']);
  const ms = field.get('fixedDelay').durationMs();
  if (ms === undefined) return undefined;
  return { percent: readPercent(field), ms };
}

function readAbort(field: Field): FaultPolicy['abort'] {
  if (!field.isObject()) return undefined;
  field.only(['percentage', 'percent', 'httpStatus', 'grpcStatus']);
  const status = field.get('httpStatus').count(200, 599);
  const grpcStatus = readGrpcStatus(field.get('grpcStatus'));
  if (status === undefined && grpcStatus === undefined) {
    field.complain('needs httpStatus or grpcStatus');
    return undefined;
  }
  return { percent: readPercent(field), status: status ?? 503, ...(grpcStatus !== undefined && { grpcStatus }) };
}

/** `percentage: { value }`, or the older `percent`. Absent is 100, as in Istio. */
function readPercent(field: Field): number {
  return readPercentage(field.get('percentage')) ?? field.get('percent').number(0, 100) ?? 100;
}

/** Istio's Percent. */
export function readPercentage(field: Field): number | undefined {
  if (!field.isObject()) return undefined;
  field.only(['value']);
  return field.get('value').number(0, 100);
}

const GRPC_STATUSES = [
  ...['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS'],
  ...['PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED'],
  ...['INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'],
];

function readGrpcStatus(field: Field): number | undefined {
  const text = field.name();
  if (text === undefined) return undefined;
  const code = /^\d{1,2}$/.test(text) ? Number(text) : GRPC_STATUSES.indexOf(text.toUpperCase());
  if (code >= 0 && code <= 16) return code;
  field.complain('is no status of gRPC');
  return undefined;
}

/** CorsPolicy. */
export function readCors(field: Field): CorsPolicy | undefined {
  if (!field.isObject()) return undefined;
  const lists = ['allowMethods', 'allowHeaders', 'exposeHeaders'] as const;
  field.only(['allowOrigins', 'allowOrigin', ...lists, 'maxAge', 'allowCredentials', 'unmatchedPreflights']);
  const allowOrigins: StringMatch[] = field
    .get('allowOrigin')
    .texts()
    .map((value) => (value === '*' ? { kind: 'present' } : { kind: 'exact', value }));
  for (const item of field.get('allowOrigins').items()) {
    const match = readStringMatch(item);
    if (match !== undefined && match !== 'unusable') allowOrigins.push(match);
  }
  const maxAgeMs = field.get('maxAge').durationMs();
  const unmatched = field.get('unmatchedPreflights').oneOf(['UNSPECIFIED', 'FORWARD', 'IGNORE']);
  return {
    allowOrigins: allowOrigins.map((match) =>
      match.kind === 'exact' && match.value === '*' ? { kind: 'present' } : match,
    ),
    ...Object.fromEntries(
      lists.map((name) => [name, field.get(name).texts()] as const).filter(([, list]) => list.length > 0),
    ),
    ...(maxAgeMs !== undefined && { maxAgeSeconds: Math.floor(maxAgeMs / 1000) }),
    ...(field.get('allowCredentials').flag() && { allowCredentials: true }),
    ...(unmatched === 'IGNORE' && { unmatchedPreflights: 'answer' as const }),
  };
}
