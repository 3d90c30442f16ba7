import type { HttpProxyError } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { HeaderList } from '../headers.ts';
import type { BodySink, ResponseSink, UpstreamStream } from '../message.ts';
import type { ClusterRef } from '../route-model.ts';
import type { ProxyServices } from '../services.ts';

const NOTHING_EXCLUDED: ReadonlySet<string> = new Set();

/** One copy of a request: gets what the real one gets, drops what it answers, and is dropped when it cannot keep up. */
class MirrorCopy implements BodySink {
  stream: UpstreamStream | undefined;
  private readonly limits: ProxyServices['limits'];
  private readonly onOver: (result: string) => void;
  private queue: Uint8Array[] = [];
  private queuedBytes = 0;
  private isOpen = false;
  private full = false;
  private bodyOver = false;
  private trailers: HeaderList | undefined;
  private over = false;

  constructor(limits: ProxyServices['limits'], onOver: (result: string) => void) {
    this.limits = limits;
    this.onOver = onOver;
  }

  /** @param result label of the metric */
  stop(result: string): void {
    if (this.over) return;
    this.over = true;
    this.queue = [];
    this.stream?.cancel();
    this.onOver(result);
  }

  // The request body.

  data(chunk: Uint8Array): void {
    if (this.over) return;
    this.queuedBytes += chunk.length;
    if (this.queuedBytes > this.limits.maxMirrorLagBytes) {
      this.stop('lagging');
      return;
    }
    // A copy: the real request's connection owns the chunk.
    this.queue.push(Uint8Array.from(chunk));
    this.flush();
  }

  ended(trailers: HeaderList | undefined): void {
    this.bodyOver = true;
    this.trailers = trailers;
    this.flush();
  }

  failed(_error: HttpProxyError): void {
    this.stop('failed');
  }

  private flush(): void {
    if (!this.isOpen || this.over) return;
    while (!this.full) {
      const chunk = this.queue.shift();
      if (chunk === undefined) break;
      this.queuedBytes -= chunk.length;
      this.full = this.stream?.write(chunk) === false;
    }
    if (this.bodyOver && this.queue.length === 0) this.stream?.end(this.trailers);
  }

  // The response.

  opened(): void {
    this.isOpen = true;
    this.flush();
  }

  drained(): void {
    this.full = false;
    this.flush();
  }
}

function nothing(): void {
  // the answer to a copy interests nobody
}

/** Starts a copy. The body reaches it as it flows; its answer is dropped. */
export function startMirror(
  exchange: Exchange,
  cluster: ClusterRef,
  services: ProxyServices,
  running: { count: number },
): void {
  const endpoint = services.upstreams.pickEndpoint(cluster, exchange.flow(), NOTHING_EXCLUDED);
  if (endpoint === undefined) {
    services.metrics.mirrors.with('no-endpoints').add();
    return;
  }
  running.count++;
  const copy = new MirrorCopy(services.limits, (result) => {
    running.count--;
    services.metrics.mirrors.with(result).add();
  });
  const { head, client } = exchange.downstream;
  const protocol = cluster.protocol === 'h2' || (cluster.protocol === 'auto' && exchange.isGrpc) ? 'h2' : 'http1';
  const target = { cluster, endpoint, protocol, clientAddress: client.address } as const;
  const sink: ResponseSink = {
    opened: () => copy.opened(),
    informed: nothing,
    head: nothing,
    data: nothing,
    drained: () => copy.drained(),
    ended: () => copy.stop('answered'),
    failed: (error) => copy.failed(error),
  };
  try {
    copy.stream = services.pools.send(
      target,
      {
        ...head,
        // The shadow suffix tells mirrored traffic apart, as Envoy's does.
        authority: exchange.authority.replace(/(:\d+)?$/, '-shadow$1'),
        target: exchange.target,
        headers: [...exchange.headers],
        scheme: cluster.tls === undefined ? 'http' : 'https',
        expectContinue: false,
        version: '1.1',
      },
      sink,
    );
  } catch {
    // Counted; a copy may not disturb what it copies.
    copy.stop('failed');
    return;
  }
  if (copy.stream.isOpen) copy.opened();
  if (head.body !== 'none') {
    exchange.bodyTaps ??= [];
    exchange.bodyTaps.push(copy);
  }
  exchange.onClosed((complete) => {
    if (!complete && head.body !== 'none') copy.stop('aborted');
  });
}
