import type { Exchange } from './exchange.ts';
import type { ProxyServices } from './services.ts';

/** Does something with an exchange: answers it, or passes it on. */
export type Handler = (exchange: Exchange) => void;

/** One layer of the proxy: made once around the next one. */
export type Layer = (next: Handler, services: ProxyServices) => Handler;

/** Stacks layers; the first is the outermost. The last one must not call its `next`. */
export function stackLayers(layers: readonly Layer[], services: ProxyServices): Handler {
  const bottom: Handler = (exchange) => {
    throw new Error(`no layer has answered ${exchange.method} ${exchange.path}`);
  };
  return layers.reduceRight((next, layer) => layer(next, services), bottom);
}
