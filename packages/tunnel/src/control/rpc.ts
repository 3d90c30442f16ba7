import { type Logger, messageOf } from '@edgemesh/core';
import type { Connection, Libp2p, Stream } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import { lpStream } from '@libp2p/utils';
import { TunnelError } from '../errors.ts';
import type { ControlTunables } from '../options.ts';
import type { ControlMetrics } from './metrics.ts';
import { decodeRequest, decodeResponse, encodeFailure, encodeRequest, encodeSuccess } from './rpc-frames.ts';
import { Turnstile } from './turnstile.ts';

export const RPC_PROTOCOL = '/edgemesh/rpc/1.0.0';
/** Room for version, method and error code beside the body. */
const FRAME_OVERHEAD = 128;
const MAX_STREAMS_PER_CONNECTION = 1_024;

/** What a handler knows about its caller. */
export interface RpcCaller {
  readonly peerId: string;
  readonly connection: Connection;
}

export type RpcHandler = (caller: RpcCaller, body: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>;

export interface RpcDeps {
  readonly node: Libp2p;
  readonly tunables: ControlTunables;
  readonly log: Logger;
  readonly metrics: ControlMetrics;
  readonly signal: AbortSignal;
}

/** Requests and answers on libp2p streams: one stream each, protocol and request in the first packet. */
export class Rpc {
  readonly #deps: RpcDeps;
  readonly #handlers = new Map<string, RpcHandler>();
  readonly #activePerPeer = new Map<string, number>();
  readonly #turnstile: Turnstile;

  private constructor(deps: RpcDeps) {
    this.#deps = deps;
    this.#turnstile = new Turnstile(deps.tunables.maxRpcsToPeer, deps.tunables.maxRpcsWaiting);
  }

  static async create(deps: RpcDeps): Promise<Rpc> {
    const rpc = new Rpc(deps);
    await deps.node.handle(RPC_PROTOCOL, (stream, connection) => rpc.#serve(stream, connection), {
      maxInboundStreams: MAX_STREAMS_PER_CONNECTION,
      maxOutboundStreams: MAX_STREAMS_PER_CONNECTION,
      runOnLimitedConnection: true,
    });
    return rpc;
  }

  /** Registers a method; a second handler for one method is a programming error. */
  handle(method: string, handler: RpcHandler): void {
    if (this.#handlers.has(method)) throw new TunnelError('config', `RPC method ${method} is handled already`);
    this.#handlers.set(method, handler);
  }

  /** Asks a connected peer over its best connection: direct before circuit. */
  request(peerId: string, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const connection = bestConnection(this.#deps.node, peerId);
    if (connection === undefined) {
      return Promise.reject(new TunnelError('unreachable', `no control connection to ${peerId}`, { retryable: true }));
    }
    return this.requestOn(connection, method, body, signal);
  }

  /** Asks over this very connection. */
  async requestOn(connection: Connection, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const { tunables, metrics } = this.#deps;
    if (body.length > tunables.maxRpcBytes) {
      throw new TunnelError('limit', `RPC body of ${body.length} bytes exceeds ${tunables.maxRpcBytes}`);
    }
    metrics.rpcRequests.with('outbound', method).add();
    const timeout = AbortSignal.timeout(tunables.rpcTimeoutMs);
    const both = AbortSignal.any([signal, timeout, this.#deps.signal]);
    try {
      const request = encodeRequest({ method, body });
      const peerId = connection.remotePeer.toString();
      return await this.#turnstile.run(peerId, both, () => this.#exchange(connection, request, both));
    } catch (error) {
      const failure = this.#explain(error, method, signal, timeout);
      metrics.rpcFailures.with('outbound', failure.code).add();
      throw failure;
    }
  }

  async #exchange(connection: Connection, request: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const stream = await connection.newStream(RPC_PROTOCOL, {
      signal,
      runOnLimitedConnection: true,
      maxOutboundStreams: MAX_STREAMS_PER_CONNECTION,
    });
    try {
      const frames = this.#frames(stream);
      await frames.write(request, { signal });
      const response = (await frames.read({ signal })).subarray();
      closeQuietly(stream, this.#deps.log);
      return decodeResponse(response);
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    const { log, tunables, metrics } = this.#deps;
    const peerId = connection.remotePeer.toString();
    const signal = AbortSignal.any([AbortSignal.timeout(tunables.rpcTimeoutMs), this.#deps.signal]);
    try {
      const frames = this.#frames(stream);
      const bytes = (await frames.read({ signal })).subarray();
      await frames.write(await this.#answer({ peerId, connection }, bytes, signal), { signal });
      closeQuietly(stream, log);
    } catch (error) {
      metrics.rpcFailures.with('inbound', 'protocol').add();
      log.debug('RPC stream failed', { peerId, error: messageOf(error) });
      stream.abort(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #answer(caller: RpcCaller, bytes: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const active = this.#activePerPeer.get(caller.peerId) ?? 0;
    this.#activePerPeer.set(caller.peerId, active + 1);
    try {
      if (active >= this.#deps.tunables.maxRpcsPerPeer) {
        throw new TunnelError('limit', `more than ${this.#deps.tunables.maxRpcsPerPeer} requests at the same time`);
      }
      const { method, body } = decodeRequest(bytes);
      const handler = this.#handlers.get(method);
      if (handler === undefined) throw new TunnelError('refused', `method ${method} is not served here`);
      this.#deps.metrics.rpcRequests.with('inbound', method).add();
      return encodeSuccess(await handler(caller, body, signal));
    } catch (error) {
      const code = error instanceof TunnelError ? error.code : 'refused';
      this.#deps.metrics.rpcFailures.with('inbound', code).add();
      return encodeFailure(code, messageOf(error));
    } finally {
      const left = (this.#activePerPeer.get(caller.peerId) ?? 1) - 1;
      if (left === 0) this.#activePerPeer.delete(caller.peerId);
      else this.#activePerPeer.set(caller.peerId, left);
    }
  }

  #frames(stream: Stream) {
    const maxDataLength = this.#deps.tunables.maxRpcBytes + FRAME_OVERHEAD;
    return lpStream(stream, { maxDataLength, maxBufferSize: maxDataLength + 16 });
  }

  #explain(error: unknown, method: string, signal: AbortSignal, timeout: AbortSignal): TunnelError {
    const options = { retryable: true, cause: error };
    if (error instanceof TunnelError && !(error.code === 'closed' && timeout.aborted)) return error;
    if (this.#deps.signal.aborted || signal.aborted) return new TunnelError('closed', `${method}: given up`, options);
    if (timeout.aborted) return new TunnelError('timeout', `${method}: no answer in time`, options);
    return new TunnelError('unreachable', `${method}: ${messageOf(error)}`, options);
  }
}

/** The connection to use for a peer: an open direct one, else an open circuit. */
export function bestConnection(node: Libp2p, peerId: string): Connection | undefined {
  const open = node.getConnections(peerIdFromString(peerId)).filter((connection) => connection.status === 'open');
  return open.find((connection) => connection.direct) ?? open[0];
}

function closeQuietly(stream: Stream, log: Logger): void {
  stream.close({ signal: AbortSignal.timeout(2_000) }).catch((error: unknown) => {
    log.debug('RPC stream did not close in order', { error: messageOf(error) });
    stream.abort(error instanceof Error ? error : new Error(String(error)));
  });
}
