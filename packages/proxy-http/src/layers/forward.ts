import { Forwarding } from '../forward/forwarding.ts';
import type { Layer } from '../layer.ts';

/** Sends the request to an endpoint and its response back, with tries as policy and safety allow. */
export const forward: Layer = (_next, services) => (exchange) => new Forwarding(exchange, services).start();
