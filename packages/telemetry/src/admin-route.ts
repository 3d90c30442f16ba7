/** A request to the admin endpoint. There is no body: everything it serves is read. */
export interface AdminRequest {
  readonly path: string;
  readonly query: URLSearchParams;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
}

/** An answer: an object goes out as JSON, text and bytes as they are, a stream piece by piece. */
export interface AdminResponse {
  /** Default 200. */
  readonly status?: number;
  /** Media type. Default `application/json`. */
  readonly type?: string;
  readonly body: string | Uint8Array | AsyncIterable<Uint8Array> | object;
  /** Offers the answer for download under this name. */
  readonly fileName?: string;
}

/** A further page of the admin endpoint, for GET and HEAD. */
export interface AdminRoute {
  /** Exact path, `/status/tunnel`. */
  readonly path: string;
  handle(request: AdminRequest): AdminResponse | Promise<AdminResponse>;
}
