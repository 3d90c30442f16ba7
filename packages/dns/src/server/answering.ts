import { type Logger, messageOf } from '@edgemesh/core';
import type { Resolver } from '../resolve/resolver.ts';
import { RCODE } from '../wire/constants.ts';
import type { QueryView } from '../wire/query.ts';
import { replyWithError } from '../wire/reply.ts';

/**
 * The resolver with its faults contained: an exception is logged and answered SERVFAIL. In a socket's event it would
 * end the process, and with it the node's DNS.
 */
export function containFaults(resolver: Resolver, log: Logger, payload: number): Resolver {
  const servfail = (error: unknown, message: Buffer, view: QueryView) => {
    log.error('query failed', { error: messageOf(error), query: message.toString('hex') });
    return replyWithError(message, view, RCODE.SERVFAIL, payload);
  };
  return {
    answerNow(message, view, verdict, limit, client) {
      try {
        return resolver.answerNow(message, view, verdict, limit, client);
      } catch (error) {
        return servfail(error, message, view);
      }
    },
    answerLater(message, shared, limit, client, send) {
      // The view is reused for the next query while this one waits.
      const view = { ...shared };
      try {
        resolver.answerLater(message, view, limit, client, send);
      } catch (error) {
        send(servfail(error, message, view));
      }
    },
  };
}
