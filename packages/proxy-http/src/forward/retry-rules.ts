import type { HttpProxyError } from '../errors.ts';
import type { RetryCondition, RetryPolicy } from '../route-model.ts';

/** RFC 9110 9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'OPTIONS',
  'PUT',
  'DELETE',
  'TRACE',
  'PROPFIND',
  'REPORT',
  'SEARCH',
]);

/** Whether sending the same request twice has the effect of sending it once. */
export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

/**
 * Whether another try may follow a failed one. Without a policy only what no endpoint can have processed is sent again: the
 * connection failed, the stream was refused, or, for idempotent methods, a kept connection had closed meanwhile.
 */
export function mayRetryError(error: HttpProxyError, method: string, policy: RetryPolicy | undefined): boolean {
  if (error.code === 'shutdown') return false;
  if (error.retryable) return true;
  const safe = isIdempotent(method) || policy?.nonIdempotent === true;
  if (!safe) return false;
  if (error.code === 'upstream-closed') return true;
  return policy !== undefined && conditionsOf(error).some((condition) => policy.on.includes(condition));
}

function conditionsOf(error: HttpProxyError): readonly RetryCondition[] {
  switch (error.code) {
    case 'upstream-reset':
    case 'upstream-protocol':
    case 'upstream-tls':
      return ['reset', '5xx', 'gateway-error'];
    case 'per-try-timeout':
    case 'upstream-idle':
      return ['per-try-timeout', '5xx', 'gateway-error'];
    case 'connect-failed':
    case 'connect-timeout':
      return ['connect-failure', '5xx', 'gateway-error'];
    default:
      return [];
  }
}

/** Whether another try may follow a response, which is then dropped. */
export function mayRetryStatus(status: number, method: string, policy: RetryPolicy | undefined): boolean {
  if (policy === undefined || !(isIdempotent(method) || policy.nonIdempotent === true)) return false;
  if (policy.statuses?.includes(status) === true) return true;
  if (status === 409) return policy.on.includes('retriable-4xx');
  if (status < 500) return false;
  if (policy.on.includes('5xx')) return true;
  return (status === 502 || status === 503 || status === 504) && policy.on.includes('gateway-error');
}

/** Tries of one request at most, the first included. */
export function maxTries(
  policy: RetryPolicy | undefined,
  limits: { maxConnectAttempts: number; maxAttempts: number },
): number {
  // A policy that allows fewer still lets an unreachable endpoint be passed over.
  return policy === undefined ? limits.maxConnectAttempts : Math.min(limits.maxAttempts, policy.attempts + 1);
}
