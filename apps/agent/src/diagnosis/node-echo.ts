import {
  type ByteSink,
  type ByteStream,
  type Clock,
  type Dialer,
  MeshError,
  systemClock,
  type Timer,
} from '@edgemesh/core';
import type { InboundRequest, PathKind, Tunnel } from '@edgemesh/tunnel';

/** Where every agent echoes (RFC 862) for the others' pings. The name can be no endpoint: those are IP addresses. */
const ECHO = { address: 'echo.edgemesh-agent', port: 7 } as const;
/** What one ping sends, in bytes, and the most that an echo answers with. */
const PING_BYTES = 32;

export function isEcho({ address, port, kind }: Pick<InboundRequest, 'address' | 'port' | 'kind'>): boolean {
  return kind === 'tcp' && address === ECHO.address && port === ECHO.port;
}

/** The answering end: sends back what comes, up to the length of one ping. */
export function createEcho(): ByteStream {
  let sink: ByteSink | undefined;
  let left = PING_BYTES;
  let closed = false;
  const close = (error?: MeshError) => {
    if (closed) return;
    closed = true;
    sink?.closed(error);
  };
  return {
    attach(to) {
      sink = to;
      // Not inside the caller's own call.
      queueMicrotask(() => {
        if (!closed) to.opened?.();
      });
    },
    write(chunk) {
      if (closed) return false;
      if (chunk.length > left) {
        close(new MeshError('limit', `the echo answers ${PING_BYTES} bytes per stream`));
        return false;
      }
      left -= chunk.length;
      queueMicrotask(() => {
        if (!closed) sink?.data(chunk);
      });
      return true;
    },
    end() {
      queueMicrotask(() => {
        if (closed) return;
        sink?.ended();
        close();
      });
    },
    reset: (error) => close(error ?? new MeshError('aborted', 'reset')),
    // A ping is smaller than anything worth holding back.
    pause: () => undefined,
    resume: () => undefined,
  };
}

/** One answered ping. */
export interface PingAnswer {
  /** From the first byte sent to the last one returned, in milliseconds; includes finding the path where there was none. */
  readonly rttMs: number;
  /** The path at the end. */
  readonly path: PathKind | undefined;
}

/**
 * Sends some bytes through the tunnel to another node's agent and waits until they are back.
 * @throws MeshError as the tunnel reports it; `timeout` after timeoutMs
 */
export async function pingNode(
  tunnel: Dialer & Pick<Tunnel, 'pathTo'>,
  nodeName: string,
  { timeoutMs, clock = systemClock }: { readonly timeoutMs: number; readonly clock?: Clock },
): Promise<PingAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const began = clock.now();
  const stream = tunnel.dial({ nodeName, ...ECHO }, { timeoutMs });
  let missing = PING_BYTES;
  const timer: Timer = clock.after(timeoutMs, () => {
    const error = new MeshError('timeout', `node ${nodeName} has not answered within ${timeoutMs} ms`);
    reject(error);
    stream.reset(error);
  });
  stream.attach({
    data(chunk) {
      missing -= chunk.length;
      if (missing > 0) return;
      resolve();
      stream.end();
    },
    ended: () => undefined,
    drained: () => undefined,
    closed: (error) => reject(error ?? new MeshError('aborted', `node ${nodeName} closed without an answer`)),
  });
  stream.write(Buffer.alloc(PING_BYTES, 'edgemesh'));
  try {
    await promise;
    return { rttMs: clock.now() - began, path: tunnel.pathTo(nodeName) };
  } finally {
    timer.cancel();
  }
}
