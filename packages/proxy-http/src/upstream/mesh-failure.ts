import type { MeshError } from '@edgemesh/core';
import { HttpProxyError, type HttpProxyErrorCode } from '../errors.ts';

/** What a failure of the dialled stream means for a request that has not been answered. */
export function dialFailure(error: MeshError | undefined): HttpProxyError {
  const code: HttpProxyErrorCode =
    error?.code === 'timeout'
      ? 'connect-timeout'
      : error?.code === 'limit'
        ? 'overload'
        : error?.code === 'shutdown'
          ? 'shutdown'
          : 'connect-failed';
  const why = error === undefined ? 'closed' : `${error.code}: ${error.message}`;
  return new HttpProxyError(code, `cannot connect to the endpoint (${why})`, { retryable: true, cause: error });
}
