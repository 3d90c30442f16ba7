import type { HttpProxyErrorCode } from './errors.ts';

/** HTTP status and gRPC status code (https://grpc.io/docs/guides/status-codes/) of a failure. */
export interface FailureStatus {
  readonly http: number;
  readonly grpc: number;
}

const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;

const STATUS: Readonly<Record<HttpProxyErrorCode, FailureStatus>> = {
  'bad-request': { http: 400, grpc: INTERNAL },
  'uri-too-long': { http: 414, grpc: INTERNAL },
  'header-too-large': { http: 431, grpc: RESOURCE_EXHAUSTED },
  'request-timeout': { http: 408, grpc: DEADLINE_EXCEEDED },
  'expectation-failed': { http: 417, grpc: INTERNAL },
  'not-implemented': { http: 501, grpc: UNIMPLEMENTED },
  'version-not-supported': { http: 505, grpc: INTERNAL },
  misdirected: { http: 421, grpc: UNAVAILABLE },
  // The method is unknown to whoever answers: what grpc clients expect of a 404.
  'no-route': { http: 404, grpc: UNIMPLEMENTED },
  'no-backend': { http: 500, grpc: UNAVAILABLE },
  'no-endpoints': { http: 503, grpc: UNAVAILABLE },
  overload: { http: 503, grpc: RESOURCE_EXHAUSTED },
  'connect-failed': { http: 502, grpc: UNAVAILABLE },
  'connect-timeout': { http: 504, grpc: UNAVAILABLE },
  'refused-stream': { http: 502, grpc: UNAVAILABLE },
  'upstream-closed': { http: 502, grpc: UNAVAILABLE },
  'upstream-reset': { http: 502, grpc: UNAVAILABLE },
  'upstream-protocol': { http: 502, grpc: INTERNAL },
  'upstream-tls': { http: 502, grpc: UNAVAILABLE },
  'upstream-timeout': { http: 504, grpc: DEADLINE_EXCEEDED },
  'per-try-timeout': { http: 504, grpc: DEADLINE_EXCEEDED },
  'upstream-idle': { http: 504, grpc: DEADLINE_EXCEEDED },
  // nginx's number for it; seen in access logs only.
  'client-gone': { http: 499, grpc: CANCELLED },
  fault: { http: 500, grpc: UNAVAILABLE },
  shutdown: { http: 503, grpc: UNAVAILABLE },
};

/** The status that tells a client of a failure. */
export function failureStatus(code: HttpProxyErrorCode): FailureStatus {
  return STATUS[code];
}

/** gRPC status of an HTTP status without grpc-status (gRPC specification, http-grpc-status-mapping). */
export function grpcStatusOfHttp(status: number): number {
  if (status === 400) return INTERNAL;
  if (status === 401) return 16;
  if (status === 403) return 7;
  if (status === 404) return UNIMPLEMENTED;
  if (status === 429 || status === 502 || status === 503 || status === 504) return UNAVAILABLE;
  return 2;
}
