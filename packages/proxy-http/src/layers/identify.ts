import { randomUUID } from 'node:crypto';
import type { Exchange } from '../exchange.ts';
import { headerValue, removeHeader, setHeader } from '../headers.ts';
import type { Layer } from '../layer.ts';

/** W3C Trace Context 3.2: version 00, and later ones that begin alike. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-|$)/;
const MAX_REQUEST_ID_LENGTH = 128;

/** Gives the request an id and a trace, unless it brings one that may be used. */
export const identify: Layer = (next, services) => {
  const { requestIdHeader = 'x-request-id', startTraces = true, trust } = services.forwarding;
  return (exchange) => {
    const { headers } = exchange;
    if (requestIdHeader !== '') {
      const sent = headerValue(headers, requestIdHeader);
      const trusted = sent !== undefined && trust?.(exchange.downstream.client.address) === true;
      if (trusted && sent.length <= MAX_REQUEST_ID_LENGTH) exchange.requestId = sent;
      else {
        exchange.requestId = randomUUID();
        if (sent === undefined) headers.push(requestIdHeader, exchange.requestId);
        else setHeader(headers, requestIdHeader, exchange.requestId);
      }
    }
    if (startTraces) startTrace(exchange);
    next(exchange);
  };
};

/** A valid trace passes untouched (this proxy makes no span); an invalid one is replaced with its state (3.3.1.1). */
function startTrace(exchange: Exchange): void {
  const { headers, requestId } = exchange;
  const sent = headerValue(headers, 'traceparent');
  if (sent !== undefined && TRACEPARENT.test(sent)) return;
  const id = requestId.length === 36 ? requestId : randomUUID();
  const parent = randomUUID();
  // Not sampled: nobody here decides to record.
  const value = `00-${hex(id)}-${hex(parent).slice(0, 16)}-00`;
  if (sent === undefined) headers.push('traceparent', value);
  else {
    setHeader(headers, 'traceparent', value);
    removeHeader(headers, 'tracestate');
  }
}

/** Slicing is faster than replacing. */
function hex(uuid: string): string {
  return uuid.slice(0, 8) + uuid.slice(9, 13) + uuid.slice(14, 18) + uuid.slice(19, 23) + uuid.slice(24);
}
