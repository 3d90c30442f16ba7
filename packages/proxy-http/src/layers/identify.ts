import type { Exchange } from '../exchange.ts';
import { headerValue, removeHeader, setHeader } from '../headers.ts';
import type { Layer } from '../layer.ts';
import { randomDigits, randomUuidDigits, uuidOf } from './random-digits.ts';

/** W3C Trace Context 3.2: version 00, and later ones that begin alike. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-|$)/;
const MAX_REQUEST_ID_LENGTH = 128;

/** Gives the request an id and a trace, unless it brings one that may be used. A new id is the new trace's id, too. */
export const identify: Layer = (next, services) => {
  const { requestIdHeader = 'x-request-id', startTraces = true, trust } = services.forwarding;
  return (exchange) => {
    const { headers } = exchange;
    let digits: string | undefined;
    if (requestIdHeader !== '') {
      const sent = headerValue(headers, requestIdHeader);
      const trusted = sent !== undefined && trust?.(exchange.downstream.client.address) === true;
      if (trusted && sent.length <= MAX_REQUEST_ID_LENGTH) exchange.requestId = sent;
      else {
        digits = randomUuidDigits();
        exchange.requestId = uuidOf(digits);
        if (sent === undefined) headers.push(requestIdHeader, exchange.requestId);
        else setHeader(headers, requestIdHeader, exchange.requestId);
      }
    }
    if (startTraces) startTrace(exchange, digits);
    next(exchange);
  };
};

/** A valid trace passes untouched (this proxy makes no span); an invalid one is replaced with its state (3.3.1.1). */
function startTrace(exchange: Exchange, digits: string | undefined): void {
  const { headers } = exchange;
  const sent = headerValue(headers, 'traceparent');
  if (sent !== undefined && TRACEPARENT.test(sent)) return;
  // Not sampled: nobody here decides to record.
  const value = `00-${digits ?? randomUuidDigits()}-${randomDigits(16)}-00`;
  if (sent === undefined) headers.push('traceparent', value);
  else {
    setHeader(headers, 'traceparent', value);
    removeHeader(headers, 'tracestate');
  }
}
